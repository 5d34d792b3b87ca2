package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/klauspost/cpuid/v2"
)

// Whether CPUs that are not here compute the same bits: the golden test under
// emulators.

const modulePath = "github.com/seed57504d97/kernel"

// targets are Go's name of an architecture, and the emulator's command. Haswell
// has AVX2, Nehalem has not, and Bochs, which takes a minute, has AVX-512.
var targets = [][2]string{
	{runtime.GOARCH, ""},
	{"386", "qemu-i386-static"},
	{"amd64", ".ci/bochs.sh"},
	{"amd64", "qemu-x86_64-static -cpu Haswell"},
	{"amd64", "qemu-x86_64-static -cpu Nehalem"},
	{"arm", "qemu-arm-static"},
	{"arm64", "qemu-aarch64-static"},
	{"loong64", "qemu-loongarch64-static"},
	{"ppc64le", "qemu-ppc64le-static"},
	{"riscv64", "qemu-riscv64-static"},
	{"s390x", "qemu-s390x-static"},
}

// cross prints which implementations computed the bits of testdata/golden.txt
// where. What is not installed is left out with a warning; other bits are an error.
func cross(stdout io.Writer, warn warnFunc) error {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", modulePath).Output()
	if err != nil {
		return fmt.Errorf("where is %s? %w", modulePath, err)
	}
	dir := strings.TrimSpace(string(out))
	fmt.Fprintln(stdout, "Bits of 100 steps against testdata/golden.txt")
	var failed error
	for _, target := range targets {
		arch, emulator := target[0], target[1]
		program := before(emulator, " ")
		if program == ".ci/bochs.sh" {
			if cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512DQ, cpuid.AVX512BW, cpuid.AVX512VL) {
				continue // this machine tells
			}
			emulator, program = filepath.Join(dir, emulator), "bochs"
		}
		if _, err := exec.LookPath(program); err != nil && program != "" {
			warn("%s is left out: %v", arch, err)
			continue
		}
		isas, err := golden(dir, arch, emulator)
		bits := "same"
		if err != nil {
			bits = "FAILS"
			failed = errors.Join(failed, fmt.Errorf("%s %s: %w", arch, program, err))
		}
		fmt.Fprintf(stdout, "%-8s %-31s %s  %s\n", arch, target[1], bits, isas)
	}
	return failed
}

var goldenLine = regexp.MustCompile(`(?m)^ +--- PASS: TestGolden/(\w+) `)

// golden runs the golden test, and returns the implementations that passed.
func golden(dir, arch, emulator string) (isas string, err error) {
	cmd := exec.Command("go", "test", "-count=1", "-timeout=10m", "-run=^TestGolden$", "-v", "-exec="+emulator, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0")
	if emulator != "" {
		cmd.Env = append(cmd.Env, "GOOS=linux") // whose system calls they emulate
	}
	out, err := cmd.CombinedOutput()
	for _, match := range goldenLine.FindAllSubmatch(out, -1) {
		isas += " " + string(match[1])
	}
	if err == nil && isas == "" {
		err = errors.New("no implementation was run")
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return strings.TrimSpace(isas), err
}
