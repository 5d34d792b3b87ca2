package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What keeps no promise is found out, whichever was given; and none is taken for
// another.
func TestCheckCatchesWrongPeers(t *testing.T) {
	const big = 1.0001 // times what it should be
	promises := map[string]promise{"exact": exact, "reordered": reordered, "approximate": approximate, "outside": outside}
	kept := func(p promise, update func(theta, grad, s []float32)) error {
		w := new(workspace)
		_, err := check(&local{workspace: w, take: each(func() error { update(w.theta, w.grad, w.s); return nil })}, p)
		return err
	}
	for name, update := range map[string]func(theta, grad, s []float32){
		"does nothing": func(theta, grad, s []float32) {},
		"leaves s": func(theta, grad, s []float32) {
			goUpdate(theta, grad, append([]float32(nil), s...), lr, rho, 1-rho, eps)
		},
		"no eps":    func(theta, grad, s []float32) { goUpdate(theta, grad, s, lr, rho, 1-rho, 0) },
		"other lr":  func(theta, grad, s []float32) { goUpdate(theta, grad, s, lr*big, rho, 1-rho, eps) },
		"other rho": func(theta, grad, s []float32) { goUpdate(theta, grad, s, lr, rho/big, 1-rho/big, eps) },
		"no tail":   func(theta, grad, s []float32) { goUpdate(theta[:1000], grad[:1000], s[:1000], lr, rho, 1-rho, eps) },
		"NaN":       func(theta, grad, s []float32) { goUpdate(theta, grad, s, lr, rho, 1-rho, -9) },
	} {
		for label, p := range promises {
			if kept(p, update) == nil {
				t.Errorf("%s: kept the promise %q", name, label)
			}
		}
	}
	w := new(workspace)
	inside := each(func() error { updateInside(w.theta, w.grad, w.s); return nil })
	for label, p := range promises {
		if _, err := check(spoiled{&local{workspace: w, take: inside}}, p); err == nil || label != "outside" && !strings.Contains(err.Error(), "s[7] = NaN") {
			t.Errorf("s that is no number passed for %s: %v", label, err)
		}
	}
	fused := func(theta, grad, s []float32) { goUpdate(theta, grad, s, lr, rho, 0.10000001, eps) }
	for label, p := range promises {
		inside := label != "outside"
		if (kept(p, updateInside) == nil) != inside || (kept(p, updateOutside) == nil) == inside {
			t.Errorf("eps inside and outside of the root: %s takes one for the other", label)
		}
		if (kept(p, fused) == nil) != (inside && label != "exact") {
			t.Errorf("a difference in the last place: %s", label)
		}
	}
}

// A spoiled peer returns one s that is not a number.
type spoiled struct{ *local }

func (p spoiled) result() (theta, s []float32, err error) {
	p.s[7] = float32(math.NaN())
	return p.theta, p.s, nil
}

// Peers that need something are optional, so that its absence skips; but one that
// is there has to be right, and leaves nothing behind.
func TestPeers(t *testing.T) {
	for _, c := range candidates {
		t.Run(c.label, func(t *testing.T) {
			temporary := t.TempDir()
			t.Setenv("TMPDIR", temporary)
			p, version, err := c.open(new(workspace))
			if err != nil {
				if c.label == theCLoop && !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, errors.ErrUnsupported) {
					t.Fatal(err) // C needs nothing more than a compiler
				}
				t.Skip(err)
			}
			worst, err := check(p, c.promise)
			if err != nil {
				t.Error(err)
			}
			t.Logf("version %s, largest relative error %.2g", version, worst)
			for range 2 {
				if err := p.prepare(100, 0); err != nil {
					t.Fatal(err)
				}
				if took, err := p.run(10); err != nil || took <= 0 {
					t.Errorf("10 steps took %v, %v", took, err)
				}
			}
			if err := p.close(); err != nil {
				t.Error(err)
			}
			if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// Whatever a child does there is a warning that says why, never a hang, and its
// folder is gone.
func TestChildren(t *testing.T) {
	defer func(limit time.Duration) { answerLimit = limit }(answerLimit)
	answerLimit = time.Second
	greet := "echo 1.0; read line; "
	for name, test := range map[string]struct{ script, want string }{
		"no library":     {"echo No module named numpy >&2; exit 1", "exit status 1: No module named numpy"},
		"no greeting":    {"exec sleep 60", "no answer within 1s"},
		"dies":           {greet + "echo out of luck >&2; exit 3", "exit status 3: out of luck"},
		"hangs":          {greet + "echo ok; exec sleep 60", "no answer within 1s"},
		"no number":      {greet + "echo ok; read line; echo fast; exec sleep 60", "fast"},
		"no result":      {greet + "echo ok; read line; echo 1; read line; echo ok", "result: no such file"},
		"a short result": {greet + "echo ok; read line; echo 1; read line; echo ok >result; echo ok", "buffer too small"},
		"a wrong result": {greet + "echo ok; read line; echo 1; read line; cp data result; echo ok", "wrong result: theta[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			python, temporary := filepath.Join(t.TempDir(), "python"), t.TempDir()
			if err := os.WriteFile(python, []byte("#!/bin/sh\n"+test.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PYTHON", python)
			t.Setenv("TMPDIR", temporary)
			var warnings strings.Builder
			found := findPeers("numpy", new(workspace), func(format string, args ...any) { fmt.Fprintf(&warnings, format, args...) })
			if len(found) > 0 || !strings.HasPrefix(warnings.String(), "numpy is left out: ") || !strings.Contains(warnings.String(), test.want) {
				t.Errorf("found %v, warned %q, want %q", found, &warnings, test.want)
			}
			if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// Peers are found by how their names begin, and it is told of those that are not.
func TestFindPeers(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no compiler, no interpreter
	t.Setenv("PYTHON", "")
	t.Setenv("CC", "")
	for names, want := range map[string]string{
		"none": "0 0", "go": "1 0", "vek,spa": "2 0", "c-o3": "0 1", "torch": "0 3", "nothing": "0 1", "go,nothing": "1 1", "all": fmt.Sprint(3, " ", len(candidates)-3),
	} {
		warnings := 0
		found := findPeers(names, new(workspace), func(format string, args ...any) { warnings++; t.Logf(format, args...) })
		if got := fmt.Sprint(len(found), " ", warnings); got != want {
			t.Errorf("%s: peers and warnings %s, want %s", names, got, want)
		}
		for _, c := range found {
			if c.kind != isPeer || c.bench != "Update" || c.traffic != 20 {
				t.Errorf("%+v", c.row)
			}
		}
	}
}
