package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A fake is a peer whose step a test chooses.
type fake struct {
	data
	update func(theta, grad, s []float32)
}

func (p *fake) run(steps int) (time.Duration, error) {
	for range steps {
		p.update(p.theta, p.grad, p.s)
	}
	return 0, nil
}

func TestCheckCatchesWrongPeers(t *testing.T) {
	const big = 1.0001 // times what it should be
	for _, test := range []struct {
		name   string
		update func(theta, grad, s []float32)
	}{
		{"does nothing", func(theta, grad, s []float32) {}},
		{"leaves s", func(theta, grad, s []float32) {
			goUpdate(theta, grad, append([]float32(nil), s...), lr, rho, 1-rho, eps)
		}},
		{"no eps", func(theta, grad, s []float32) { goUpdate(theta, grad, s, lr, rho, 1-rho, 0) }},
		{"other lr", func(theta, grad, s []float32) { goUpdate(theta, grad, s, lr*big, rho, 1-rho, eps) }},
		{"other rho", func(theta, grad, s []float32) { goUpdate(theta, grad, s, lr, rho/big, 1-rho/big, eps) }},
		{"no tail", func(theta, grad, s []float32) {
			n := len(theta) &^ 15
			goUpdate(theta[:n], grad[:n], s[:n], lr, rho, 1-rho, eps)
		}},
		{"NaN", func(theta, grad, s []float32) { goUpdate(theta, grad, s, lr, rho, 1-rho, -1) }},
	} {
		for name, p := range map[string]promise{"exact": exact, "reordered": reordered, "approximate": approximate, "outside": outside} {
			if worst, err := check(&fake{update: test.update}, p); err == nil {
				t.Errorf("%s: kept the promise %q to within %g", test.name, name, worst)
			}
		}
	}
	// eps inside the root and outside of it are two formulas.
	if _, err := check(&fake{update: updateOutside}, approximate); err == nil {
		t.Error("eps outside the root passed for eps inside")
	}
	if _, err := check(&fake{update: updateInside}, outside); err == nil {
		t.Error("eps inside the root passed for eps outside")
	}
	// A difference in the last place is not exact.
	fused := func(theta, grad, s []float32) { goUpdate(theta, grad, s, lr, rho, 0.1000001, eps) }
	if _, err := check(&fake{update: fused}, exact); err == nil {
		t.Error("other bits passed for exact")
	}
}

func TestPeersInProcess(t *testing.T) {
	for _, c := range candidates[:3] {
		t.Run(c.label, func(t *testing.T) {
			p, _, err := c.open()
			if err != nil {
				t.Fatal(err)
			}
			worst, err := check(p, c.promise)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("largest relative error %.2g", worst)
			if err := p.close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Peers in other processes are optional, so that their absence skips; but one
// that is there has to be right.
func TestPeersInChildren(t *testing.T) {
	if testing.Short() {
		t.Skip("starts compilers and Python's libraries")
	}
	for _, c := range candidates[3:] {
		t.Run(c.label, func(t *testing.T) {
			temporary := t.TempDir()
			t.Setenv("TMPDIR", temporary)
			p, version, err := c.open()
			if err != nil {
				wantEmpty(t, temporary)
				if c.label == "c-o3" && !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, errors.ErrUnsupported) {
					t.Fatal(err) // C needs nothing more than a compiler
				}
				t.Skip(err)
			}
			worst, err := check(p, c.promise)
			if err != nil {
				t.Error(err)
			}
			t.Logf("version %s, largest relative error %.2g", version, worst)

			r := checked{p, c.label}
			if err := r.prepare(100); err != nil {
				t.Fatal(err)
			}
			if took, err := r.run(10); err != nil || took <= 0 {
				t.Errorf("10 steps took %v, %v", took, err)
			}
			if err := r.close(); err != nil {
				t.Error(err)
			}
			wantEmpty(t, temporary)
			if _, err := r.run(1); err == nil {
				t.Error("a step after close")
			}
			if err := r.close(); err != nil {
				t.Errorf("closed again: %v", err)
			}
		})
	}
}

// The peers that findPeers returns are named and usable; it tells of the others.
func TestFindPeers(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no compiler, no interpreter
	t.Setenv("PYTHON", "")
	t.Setenv("CC", "")
	missing := 0
	found := findPeers(func(format string, args ...any) {
		missing++
		t.Logf(format, args...)
	})
	if len(found) != 3 || len(found)+missing != len(candidates) {
		t.Errorf("%d peers and %d warnings, want 3 of %d peers", len(found), missing, len(candidates))
	}
	for _, r := range found {
		if err := r.prepare(1000); err != nil {
			t.Fatal(err)
		}
		if _, err := r.run(2); err != nil {
			t.Fatal(err)
		}
		if err := r.close(); err != nil {
			t.Error(err)
		}
		t.Log(r.name())
	}
}

// TestFakeChild is not a test but the child of the one below: this program,
// started again.
func TestFakeChild(t *testing.T) {
	behaviour := os.Getenv("BENCH_FAKE_CHILD")
	if behaviour == "" {
		t.Skip("only for TestChildren")
	}
	if behaviour == "no library" {
		fmt.Fprintln(os.Stderr, "No module named 'numpy'")
		os.Exit(1)
	}
	if behaviour == "no greeting" {
		time.Sleep(time.Hour)
	}
	fmt.Println("ready 1.0")
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		switch command, _, _ := strings.Cut(input.Text(), " "); {
		case command == "quit":
			os.Exit(0)
		case behaviour == "dies":
			fmt.Fprintln(os.Stderr, "out of luck")
			os.Exit(3)
		case behaviour == "hangs":
			time.Sleep(time.Hour)
		case command == "run" && behaviour == "no result":
			fmt.Println(1)
		case behaviour == "babbles":
			fmt.Println("hello")
		default:
			fmt.Println("ok")
		}
	}
	os.Exit(0)
}

// Whatever a child does there is an error that says why, never a hang, and its
// process and its folder are gone.
func TestChildren(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		behaviour, want string
	}{
		{"no library", "exit status 1: No module named 'numpy'"},
		{"no greeting", "no answer within"},
		{"dies", "exit status 3: out of luck"},
		{"hangs", "no answer within"},
		{"no result", "no such file"},
		{"babbles", `unexpected answer "hello"`},
		{"ok", "unexpected answer"}, // where a number is due
	} {
		t.Run(test.behaviour, func(t *testing.T) {
			t.Setenv("BENCH_FAKE_CHILD", test.behaviour)
			dir := filepath.Join(t.TempDir(), "peer")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			startLimit := startLimit
			if test.behaviour == "no greeting" {
				startLimit = time.Second
			}
			c, _, err := startChild(dir, exec.Command(program, "-test.run=^TestFakeChild$"), startLimit)
			if err == nil {
				if test.behaviour == "hangs" {
					c.limit = time.Second
				}
				_, err = check(c, exact)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got the error %v, want one with %q", err, test.want)
			}
			if c != nil {
				if err := c.close(); err != nil {
					t.Error(err)
				}
				if c.cmd.ProcessState == nil {
					t.Error("the process was not waited for")
				}
			}
			wantEmpty(t, filepath.Dir(dir))
		})
	}
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
