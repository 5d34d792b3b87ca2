package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// How long a child may take to start, imports included, to answer, and to end
// once its input has ended.
const (
	startLimit  = time.Minute
	answerLimit = 3 * time.Minute
	endLimit    = 5 * time.Second
)

// A child is a peer in a process of its own. It is started with lr, rho, eps and
// 1 where its slices are to be in huge pages, else 0, as its last arguments. It
// greets with a line "ready VERSION", and answers each line that it reads with
// one line:
//
//	prepare N FILE   ok: theta, grad and s, N float32 each, little-endian, are read
//	run STEPS        how many nanoseconds the steps took, by a monotonic clock
//	save FILE        ok: theta and s are written in the same form
//	quit             (it ends, as it does at the end of its input)
//
// Where something fails it says what on standard error, and ends.
type child struct {
	dir     string // its program and its data, removed by close
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stdout  io.ReadCloser
	lines   *bufio.Reader
	stderr  bytes.Buffer
	n       int
	limit   time.Duration // for an answer
	failure error         // why it has ended; nil while it runs
}

// startChild starts a program that is in the folder dir, which belongs to the
// child from then on, and returns the version it greets with.
func startChild(dir string, cmd *exec.Cmd, limit time.Duration) (*child, string, error) {
	hugePages := 0
	if useHugePages {
		hugePages = 1
	}
	for _, x := range []any{lr, rho, eps, hugePages} {
		cmd.Args = append(cmd.Args, fmt.Sprint(x))
	}
	c := &child{dir: dir, cmd: cmd, limit: limit}
	cmd.Stderr = &c.stderr
	cmd.WaitDelay = endLimit // where a process of its own keeps stderr open
	var err error
	if c.stdin, err = cmd.StdinPipe(); err == nil {
		c.stdout, err = cmd.StdoutPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, "", err
	}
	c.lines = bufio.NewReader(c.stdout)
	version, ready := "", false
	greeting, err := c.answer()
	if err == nil {
		if version, ready = strings.CutPrefix(greeting, "ready "); !ready {
			err = fmt.Errorf("unexpected greeting %q", greeting)
		}
	}
	if err != nil {
		c.close()
		return nil, "", err
	}
	c.limit = answerLimit
	return c, version, nil
}

func (c *child) load(theta, grad, s []float32) error {
	file := filepath.Join(c.dir, "data")
	defer os.Remove(file)
	if err := writeFloats(file, theta, grad, s); err != nil {
		return err
	}
	c.n = len(theta)
	return c.askOK("prepare %d %s", c.n, file)
}

func (c *child) run(steps int) (time.Duration, error) {
	line, err := c.ask("run %d", steps)
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(line, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("unexpected answer: %w", err)
	}
	return time.Duration(ns), nil
}

func (c *child) result() (theta, s []float32, err error) {
	file := filepath.Join(c.dir, "result")
	defer os.Remove(file)
	if err := c.askOK("save %s", file); err != nil {
		return nil, nil, err
	}
	theta, s = make([]float32, c.n), make([]float32, c.n)
	return theta, s, readFloats(file, theta, s)
}

func (c *child) close() error {
	if c.failure == nil {
		fmt.Fprintln(c.stdin, "quit") // if that fails, the end of the input says it too
		c.reap()
		c.failure = os.ErrProcessDone
	}
	return os.RemoveAll(c.dir)
}

func (c *child) askOK(format string, args ...any) error {
	line, err := c.ask(format, args...)
	if err == nil && line != "ok" {
		err = fmt.Errorf("unexpected answer %q", line)
	}
	return err
}

func (c *child) ask(format string, args ...any) (string, error) {
	if c.failure != nil {
		return "", c.failure
	}
	// A child that has ended cannot be written to; why is found out below.
	fmt.Fprintf(c.stdin, format+"\n", args...)
	return c.answer()
}

// answer reads a line. If none comes, the child is ended.
func (c *child) answer() (string, error) {
	watchdog := time.AfterFunc(c.limit, c.kill)
	line, err := c.lines.ReadString('\n')
	inTime := watchdog.Stop()
	if err == nil {
		return strings.TrimSpace(line), nil
	}
	ended := c.reap()
	switch {
	case !inTime:
		err = fmt.Errorf("no answer within %v", c.limit)
	case ended != nil:
		err = fmt.Errorf("the process ended: %w", ended)
	default:
		err = fmt.Errorf("the process ended: %w", err)
	}
	if message := lastLines(c.stderr.String()); message != "" {
		err = fmt.Errorf("%w: %s", err, message)
	}
	c.failure = err
	return "", err
}

// kill also ends a read that waits for the child, or for a process that the
// child started.
func (c *child) kill() {
	c.cmd.Process.Kill()
	c.stdout.Close()
}

// reap waits until the child has ended, and kills it if that takes too long.
func (c *child) reap() error {
	c.stdin.Close()
	watchdog := time.AfterFunc(endLimit, c.kill)
	defer watchdog.Stop()
	return c.cmd.Wait()
}

// lastLines returns the end of what a child or a compiler said: the reason.
func lastLines(output string) string {
	const most = 3
	lines := strings.Split(strings.TrimSpace(output), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "; ")
}

func writeFloats(file string, parts ...[]float32) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err == nil {
			err = binary.Write(f, binary.LittleEndian, part)
		}
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

func readFloats(file string, parts ...[]float32) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, part := range parts {
		if err := binary.Read(f, binary.LittleEndian, part); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
	}
	return nil
}
