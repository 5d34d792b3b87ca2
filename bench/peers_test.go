package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// check finds every broken promise, and does not confuse promises.
func TestCheck(t *testing.T) {
	const big = 1.0001 // times what it should be
	goWith := func(lr, rho, c, eps float32) func(theta, grad, s []float32) {
		return func(theta, grad, s []float32) { goUpdate(theta, grad, s, lr, rho, c, eps) }
	}
	spoiled := func(by float32) func(theta, grad, s []float32) { // one s, in the last of check's steps
		calls := 0
		return func(theta, grad, s []float32) {
			updateInside(theta, grad, s)
			if calls++; calls%3 == 0 {
				s[7] *= by
			}
		}
	}
	for name, test := range map[string]struct {
		kept   string // the promises
		update func(theta, grad, s []float32)
	}{
		"kernel's":     {"exact reordered approximate", updateInside},
		"fused":        {"reordered approximate", goWith(lr, rho, 0.10000001, eps)},
		"eps outside":  {"outside", updateOutside},
		"does nothing": {"", func(theta, grad, s []float32) {}},
		"leaves s":     {"", func(theta, grad, s []float32) { updateInside(theta, grad, slices.Clone(s)) }},
		"no tail":      {"", func(theta, grad, s []float32) { updateInside(theta[:1000], grad[:1000], s[:1000]) }},
		"no eps":       {"", goWith(lr, rho, 1-rho, 0)},
		"other lr":     {"", goWith(lr*big, rho, 1-rho, eps)},
		"other rho":    {"", goWith(lr, rho/big, 1-rho/big, eps)},
		"NaN in theta": {"", goWith(lr, rho, 1-rho, -9)},
		"NaN in one s": {"", spoiled(float32(math.NaN()))},
		"one other s":  {"", spoiled(big)},
	} {
		for label, p := range map[string]promise{
			"exact": exact, "reordered": reordered, "approximate": approximate, "outside": outside,
		} {
			w := new(workspace)
			take := each(func() { test.update(w.theta, w.grad, w.s) })
			err := check(&local{workspace: w, take: take}, p)
			if kept := slices.Contains(strings.Fields(test.kept), label); (err == nil) != kept {
				t.Errorf("%s: %v, keeps the promise %q: %t", name, err, label, kept)
			}
		}
	}
}

// A peer whose requirements are missing is skipped. A peer that exists must be right and leave nothing
// behind.
func TestPeers(t *testing.T) {
	for _, c := range candidates {
		t.Run(c.label, func(t *testing.T) {
			temporary := t.TempDir()
			t.Setenv("TMPDIR", temporary)
			p, version, err := c.open(new(workspace))
			if err != nil {
				if c.label == theCLoop && !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, errors.ErrUnsupported) {
					t.Fatal(err) // C only needs a compiler
				}
				t.Skip(err)
			}
			t.Log("version", version)
			if err := check(p, c.promise); err != nil {
				t.Error(err)
			}
			if err := p.prepare(100, 0); err != nil {
				t.Fatal(err)
			}
			if took, err := p.run(10); err != nil || took <= 0 {
				t.Errorf("10 steps took %v, %v", took, err)
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

// Whatever a child does, there is a warning that says why, never a hang, and its folder is removed.
func TestChildren(t *testing.T) {
	defer func(limit time.Duration) { answerLimit = limit }(answerLimit)
	answerLimit = time.Second
	const greet, load, run = "echo 1.0; read line; ", "echo ok; read line; ", "echo 1; read line; "
	for script, want := range map[string]string{
		"echo No module named numpy >&2; exit 1":       "exit status 1: No module named numpy",
		"exec sleep 60":                                "no answer within 1s",
		greet + "echo out of luck >&2; exit 3":         "exit status 3: out of luck",
		greet + "echo ok; exec sleep 60":               "no answer within 1s",
		greet + load + "echo fast; exec sleep 60":      "fast",
		greet + load + run + "echo ok":                 "result: no such file",
		greet + load + run + "echo >result; echo ok":   "buffer too small",
		greet + load + run + "cp data result; echo ok": "wrong result: theta[0]",
	} {
		python, temporary := filepath.Join(t.TempDir(), "python"), t.TempDir()
		if err := os.WriteFile(python, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PYTHON", python)
		t.Setenv("TMPDIR", temporary)
		var warned strings.Builder
		found := findPeers("numpy", new(workspace), log.New(&warned, "", 0))
		if text := warned.String(); len(found) > 0 || !strings.HasPrefix(text, "numpy is left out: ") ||
			!strings.Contains(text, want) {
			t.Errorf("%s: found %v, warned %q, want %q", script, found, text, want)
		}
		if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v, %v", script, left, err)
		}
	}
}

// Peers are found by prefixes of their names. Unknown names cause a warning.
func TestFindPeers(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no compiler, no interpreter
	t.Setenv("PYTHON", "")
	t.Setenv("CC", "")
	inGo := len(findPeers("go-loop,vek,spago,archsimd", new(workspace), log.New(io.Discard, "", 0)))
	for names, want := range map[string]string{
		"none": "0 0", "go": "1 0", "vek,spa": "2 0", "c-o3": "0 1", "torch": "0 3", "nothing": "0 1", "go,nothing": "1 1",
		"all": fmt.Sprint(inGo, " ", len(candidates)-inGo),
	} {
		var warned strings.Builder
		found := findPeers(names, new(workspace), log.New(&warned, "", 0))
		if got := fmt.Sprint(len(found), " ", strings.Count(warned.String(), "\n")); got != want {
			t.Errorf("%s: peers and warnings %s, want %s:\n%s", names, got, want, &warned)
		}
		if slices.ContainsFunc(found, func(c contender) bool { return c.kind != isPeer || c.traffic != 20 }) {
			t.Errorf("%s: %+v", names, found)
		}
	}
}
