package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// What can be said of CPUs that are not here: whether they compute the same
// bits, from the golden test under qemu's user emulators, and how many cycles an
// element costs them, as llvm-mca predicts (predict.go).

const modulePath = "github.com/seed57504d97/kernel"

// A target is a CPU to run the golden test on.
type target struct {
	goarch   string
	emulator string // none: this machine
	model    string // the emulator's -cpu
}

// targets has this machine first. Among the emulated, Haswell has AVX2 and
// Nehalem has not.
func targets() []target {
	list := []target{{goarch: runtime.GOARCH}}
	if runtime.GOARCH == "amd64" && runtime.GOOS == "linux" {
		list = append(list, target{goarch: "386"})
	}
	for _, t := range []target{
		{"amd64", "qemu-x86_64", "Haswell"},
		{"amd64", "qemu-x86_64", "Nehalem"},
		{"arm64", "qemu-aarch64", ""},
		{"386", "qemu-i386", ""},
		{"arm", "qemu-arm", ""},
		{"loong64", "qemu-loongarch64", ""},
		{"mips", "qemu-mips", ""},
		{"mips64", "qemu-mips64", ""},
		{"mips64le", "qemu-mips64el", ""},
		{"mipsle", "qemu-mipsel", ""},
		{"ppc64", "qemu-ppc64", ""},
		{"ppc64le", "qemu-ppc64le", ""},
		{"riscv64", "qemu-riscv64", ""},
		{"s390x", "qemu-s390x", ""},
	} {
		here := slices.ContainsFunc(list, func(l target) bool { return l.goarch == t.goarch && l.emulator == "" })
		if t.model != "" || !here {
			list = append(list, t)
		}
	}
	return list
}

// A verdict is what the golden test says of a target.
type verdict struct {
	Arch            string   `json:"arch"`
	Emulator        string   `json:"emulator,omitempty"`
	Implementations []string `json:"implementations"` // that were run
	Problem         string   `json:"problem,omitempty"`
}

func (v verdict) same() bool { return v.Problem == "" }

// cross checks the bits and predicts cycles, and prints both. What is not
// installed is left out with a warning.
func cross(stdout, stderr io.Writer, warn warnFunc) ([]verdict, []prediction, error) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", modulePath).Output()
	if err != nil {
		return nil, nil, fmt.Errorf("where is %s? %w", modulePath, withStderr(err))
	}
	builds := builder{source: strings.TrimSpace(string(out))}
	if builds.dir, err = os.MkdirTemp("", "kernel-cross-"); err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(builds.dir)

	list := targets()
	progress := newProgress(stderr, "building and checking", len(list))
	var bits []verdict
	for _, t := range list {
		v, ok := golden(t, builds)
		progress.Add(1)
		if !ok {
			progress.Clear()
			warn("%s is left out: %s is not installed", t.goarch, t.emulator)
			continue
		}
		bits = append(bits, v)
	}
	progress.Finish()
	writeVerdicts(stdout, bits)

	predicted, err := predict(stdout, builds, warn)
	if err != nil {
		warn("no cycles predicted: %v", err)
	}
	return bits, predicted, nil
}

// A builder makes test binaries of the root package, each once.
type builder struct{ source, dir string }

func (b builder) build(goos, goarch string) (file string, err error) {
	file = filepath.Join(b.dir, fmt.Sprintf("kernel-%s-%s.test", goos, goarch))
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	cmd := exec.Command("go", "test", "-c", "-o", file, ".")
	cmd.Dir = b.source
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go test -c for %s/%s: %w\n%s", goos, goarch, err, out)
	}
	return file, nil
}

// golden runs the golden test on a target; ok is false without its emulator.
func golden(t target, b builder) (v verdict, ok bool) {
	v.Arch, v.Emulator = t.goarch, strings.TrimSpace(t.emulator+" "+t.model)
	goos := runtime.GOOS
	var command []string
	if t.emulator != "" {
		emulator, err := exec.LookPath(t.emulator + "-static")
		if err != nil {
			emulator, err = exec.LookPath(t.emulator)
		}
		if err != nil {
			return v, false
		}
		goos = "linux" // whose system calls they emulate
		command = append(command, emulator)
		if t.model != "" {
			command = append(command, "-cpu", t.model)
		}
	}
	file, err := b.build(goos, t.goarch)
	if err != nil {
		v.Problem = err.Error()
		return v, true
	}
	command = append(command, file, "-test.run", "^TestGolden$", "-test.v")
	// A slow emulator takes some seconds.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = b.source // for testdata
	out, err := cmd.CombinedOutput()
	v.Implementations, v.Problem = readGolden(string(out))
	if err != nil && v.Problem == "" {
		v.Problem = fmt.Sprintf("%v: %s", err, out)
	}
	return v, true
}

var goldenLine = regexp.MustCompile(`(?m)^ +--- ([A-Z]+): TestGolden/(\w+)`)

// readGolden reads the subtests' verdicts from the test's output.
func readGolden(out string) (implementations []string, problem string) {
	for _, match := range goldenLine.FindAllStringSubmatch(out, -1) {
		if match[1] != "PASS" {
			problem = fmt.Sprintf("%s differs", match[2])
		}
		implementations = append(implementations, match[2])
	}
	if implementations == nil {
		problem = "no implementation was run: " + out
	}
	return implementations, problem
}

func writeVerdicts(w io.Writer, verdicts []verdict) {
	fmt.Fprintln(w, "\nBits of 100 steps against testdata/golden.txt")
	for _, v := range verdicts {
		bits := "same"
		if !v.same() {
			bits = "FAILS"
		}
		fmt.Fprintf(w, "%-8s %-20s %s  %s\n", v.Arch, v.Emulator, bits, strings.Join(v.Implementations, " "))
	}
	for _, v := range verdicts {
		if !v.same() {
			fmt.Fprintf(w, "%s %s: %s\n", v.Arch, v.Emulator, strings.TrimSpace(v.Problem))
		}
	}
}

// withStderr adds what a command said to why it failed.
func withStderr(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return err
}
