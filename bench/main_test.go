package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed57504d97/kernel"
)

// wantAll fails if text lacks one of the parts.
func wantAll(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in:\n%s", part, text)
		}
	}
}

// The whole command at arbitrary sizes: its exit status, and what it prints and writes. Times
// decide nothing.
func TestRun(t *testing.T) {
	defer kernel.SetISA("")
	dir := t.TempDir()
	for args, test := range map[string]struct {
		status int
		want   string // separated by bars
	}{
		"-sizes 16,100 -time 2ms -peers go -plans -out DIR/a.txt -plot DIR/a.svg,DIR/a.png": {0, "cpu: |" +
			"Update, 16 elements, 64 bytes an array\n|Update, 100 elements, |  traffic, |  generic\n|  go-loop |" +
			"bare traffic loop:|kernel's fastest:"},
		"-options -sizes 100 -time 1ms":                             {0, "Options, 100|  generic, momentum\n|of Update:"},
		"-sizes 16,999Gi -time 1ms -peers nobody":                   {0, `unknown peer "nobody"|only 1 of the sizes are`},
		"-sizes 999Gi -peers none":                                  {1, "not enough memory"},
		"-sizes 16 -time 1ms -peers none -out no/a":                 {1, "no/a"},
		"-sizes 16 -time 1ms -peers none -plot no/a.svg":            {1, "no/a"},
		"-sizes 16 -time 1ms -peers none -plot DIR/a.txt,DIR/b.svg": {1, "txt"},
		"-help":                {0, "-sizes elements"},
		"-sizes 12x":           {2, `"12x"`},
		"64Mi":                 {2, `"64Mi"`},
		"-time 0s":             {2, "-time"},
		"-options -plans":      {2, "Update alone"},
		"-options -plot a.svg": {2, "Update alone"},
	} {
		kernel.SetISA("")
		var out strings.Builder
		if status := run(strings.Fields(strings.ReplaceAll(args, "DIR", dir)), &out, &out); status != test.status {
			t.Errorf("%s: status %d, want %d", args, status, test.status)
		}
		wantAll(t, out.String(), strings.Split(test.want, "|")...)
	}
	for name, want := range map[string]string{
		"a.txt": "# go run -C bench . -sizes 16,100 ", "a.svg": "<?xml", "a.png": "\x89PNG", "b.svg": "<?xml",
	} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.HasPrefix(string(text), want) {
			t.Errorf("%s: %v, %.100q, want it to begin with %q", name, err, text, want)
		}
	}
}

// Without -sizes, the sizes depend on the mode.
func TestParse(t *testing.T) {
	for args, want := range map[string]string{
		"": "6 1536", "-plot a.png": "13 512", "-options": "4 8192", "-options -sizes 7,7,9": "2 7",
	} {
		o, err := parse(strings.Fields(args), t.Output())
		if err != nil || fmt.Sprint(len(o.sizes), " ", o.sizes[0]) != want {
			t.Errorf("%s: %v, %v, want %s", args, o.sizes, err, want)
		}
	}
}

// cross.sh reports the implementations of this machine. A program that runs nothing or fails is an
// error, and so is an unknown name.
func TestCross(t *testing.T) {
	for _, test := range []struct{ env, want string }{
		{"", " same  " + strings.Join(kernel.ISAs(), " ") + "\n"}, {"exit 0", " FAILS "}, {"exit 1", " FAILS "},
	} {
		if test.env != "" {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "env"), []byte("#!/bin/sh\n"+test.env+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		}
		out, err := exec.Command("bash", "cross.sh", "native").Output()
		if (err != nil) != (test.env != "") || !strings.Contains(string(out), test.want) {
			t.Errorf("env %q: %v, %s, want %q", test.env, err, out, test.want)
		}
	}
	if out, err := exec.Command("bash", "cross.sh", "native", "arm65").CombinedOutput(); err == nil {
		t.Errorf("no error for arm65: %s", out)
	}
}
