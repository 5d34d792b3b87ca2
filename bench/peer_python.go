package main

import (
	"bufio"
	"bytes"
	"cmp"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed peers/worker.py
var worker string

// answerLimit is how long a child may need for an answer.
var answerLimit = 3 * time.Minute

// A child is one of Python's libraries in a process of its own, which runs peers/worker.py and has
// its own arrays. It first prints a line with its version. Then it answers each line with one line:
//
//	load        ok: theta, grad and s, float32 each, are read from the file data
//	run STEPS   the time of the steps in nanoseconds
//	save        ok: theta and s are written to the file result
//
// If something fails, it prints the reason to standard error and exits.
type child struct {
	cmd  *exec.Cmd // in a folder of its own
	in   io.Writer
	out  *bufio.Reader
	said bytes.Buffer // on standard error
	n    int
}

// openPython returns a function that starts a library. The environment variable PYTHON names the
// interpreter.
func openPython(library string) func(w *workspace) (peer, string, error) {
	return func(*workspace) (peer, string, error) {
		dir, err := os.MkdirTemp("", "kernel-bench-")
		if err != nil {
			return nil, "", err
		}
		c := &child{cmd: exec.Command(cmp.Or(os.Getenv("PYTHON"), "python3"), "-c", worker, library,
			fmt.Sprint(lr), fmt.Sprint(rho), fmt.Sprint(eps))}
		c.cmd.Dir = dir
		c.cmd.Env = append(os.Environ(), "TMPDIR="+dir) // close removes what libraries leave there
		if !useHugePages {
			c.cmd.Env = append(c.cmd.Env, "NUMPY_MADVISE_HUGEPAGE=0")
		} else if library != "numpy" { // which asks for huge pages itself, and is slower with both
			c.cmd.Env = append(c.cmd.Env, "GLIBC_TUNABLES=glibc.malloc.hugetlb=1") // since glibc 2.35
		}
		c.cmd.Stderr, c.cmd.WaitDelay = &c.said, time.Second
		in, err1 := c.cmd.StdinPipe()
		out, err2 := c.cmd.StdoutPipe()
		c.in, c.out = in, bufio.NewReader(out)
		var version string
		if err = errors.Join(err1, err2, c.cmd.Start()); err == nil {
			version, err = c.answer()
		}
		if err != nil {
			c.close()
			return nil, "", err
		}
		return c, version, nil
	}
}

func (c *child) ask(line string) (string, error) {
	_, _ = fmt.Fprintln(c.in, line) // answer finds out why a child cannot be written to
	return c.answer()
}

// answer reads a line. If none comes, it kills the child.
func (c *child) answer() (string, error) {
	watchdog := time.AfterFunc(answerLimit, func() { c.cmd.Process.Kill() })
	line, err := c.out.ReadString('\n')
	inTime := watchdog.Stop()
	switch {
	case err != nil && inTime:
		err = fmt.Errorf("the process ended: %w: %s", cmp.Or(c.cmd.Wait(), err), lastLines(c.said.String()))
	case err != nil:
		err = fmt.Errorf("no answer within %v", answerLimit)
	}
	return strings.TrimSpace(line), err
}

// prepare ignores stagger: it cannot choose the places of the arrays.
func (c *child) prepare(n, stagger int) error {
	if c.n == n {
		return nil
	}
	theta, grad, s := make([]float32, n), make([]float32, n), make([]float32, n)
	fillData(theta, grad, s)
	return c.load(theta, grad, s)
}

func (c *child) load(theta, grad, s []float32) error {
	c.n = len(theta)
	data, _ := binary.Append(nil, binary.LittleEndian, slices.Concat(theta, grad, s)) // numbers never fail
	err := os.WriteFile(filepath.Join(c.cmd.Dir, "data"), data, 0o600)
	if err == nil {
		_, err = c.ask("load")
	}
	return err
}

func (c *child) run(steps int) (time.Duration, error) {
	line, err := c.ask(fmt.Sprint("run ", steps))
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(line, 10, 64)
	return time.Duration(ns), err
}

func (c *child) result() (theta, s []float32, err error) {
	if _, err := c.ask("save"); err != nil {
		return nil, nil, err
	}
	data, err := os.ReadFile(filepath.Join(c.cmd.Dir, "result"))
	both := make([]float32, 2*c.n)
	if err == nil {
		_, err = binary.Decode(data, binary.LittleEndian, both)
	}
	return both[:c.n], both[c.n:], err
}

func (c *child) close() error {
	if c.cmd.Process != nil {
		c.cmd.Process.Kill()
		c.cmd.Wait()
	}
	return os.RemoveAll(c.cmd.Dir)
}

// lastLines returns the end of the output of a child or a compiler, which has the reason.
func lastLines(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}
