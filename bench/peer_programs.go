package main

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
)

// The programs that child processes run: sources, so that they are compiled for
// this CPU by what this machine has.
//
//go:embed peers/archsimd/main.go peers/c/rmsprop.c peers/python/worker.py
var programs embed.FS

// unpack copies one of programs into a new temporary folder.
func unpack(name string) (dir, file string, err error) {
	source, err := programs.ReadFile(name)
	if err != nil {
		return "", "", err
	}
	if dir, err = os.MkdirTemp("", "rmsprop-peer-"); err != nil {
		return "", "", err
	}
	file = filepath.Join(dir, path.Base(name))
	if err = os.WriteFile(file, source, 0o600); err != nil {
		os.RemoveAll(dir)
	}
	return dir, file, err
}

// build unpacks a program, runs a compiler in its folder, which has to make a
// file named program, and starts that.
func build(name, compiler string, env []string, args ...string) (peer, string, error) {
	compiler, err := exec.LookPath(compiler)
	if err != nil {
		return nil, "", err
	}
	dir, _, err := unpack(name)
	if err != nil {
		return nil, "", err
	}
	cmd := exec.Command(compiler, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if output, err := cmd.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return nil, "", fmt.Errorf("%s: %w: %s", compiler, err, lastLines(string(output)))
	}
	return startPeer(dir, exec.Command(filepath.Join(dir, "program")))
}

func startPeer(dir string, cmd *exec.Cmd) (peer, string, error) {
	c, version, err := startChild(dir, cmd, startLimit)
	if err != nil {
		return nil, "", err // not c, which would be a peer that is not nil
	}
	return c, version, nil
}

// openArchsimd starts the formula in Go's own vectors of 16 lanes.
func openArchsimd() (peer, string, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return nil, "", fmt.Errorf("only on linux/amd64: %w", errors.ErrUnsupported)
	}
	return build("peers/archsimd/main.go", "go",
		[]string{"GOEXPERIMENT=simd", "GOOS=", "GOARCH=", "GOFLAGS="},
		"build", "-o", "program", "main.go")
}

// What a C compiler is told about vectors: to use the widest that the CPU has,
// or no wider ones than AVX2's.
var (
	widest = map[string][]string{
		"amd64": {"-march=native", "-mprefer-vector-width=512"},
		"arm64": {"-mcpu=native"},
	}
	avx2 = map[string][]string{
		"amd64": {"-march=native", "-mavx2", "-mfma", "-mno-avx512f"},
	}
)

// openC returns what starts the formula in C. The environment variable CC picks
// the compiler.
func openC(vectors map[string][]string, more ...string) func() (peer, string, error) {
	return func() (peer, string, error) {
		flags, ok := vectors[runtime.GOARCH]
		if !ok {
			return nil, "", fmt.Errorf("not on %s: %w", runtime.GOARCH, errors.ErrUnsupported)
		}
		compiler := os.Getenv("CC")
		for _, name := range []string{"cc", "gcc", "clang"} {
			if compiler != "" {
				break
			}
			compiler, _ = exec.LookPath(name)
		}
		if compiler == "" {
			return nil, "", fmt.Errorf("no cc, gcc or clang: %w", exec.ErrNotFound)
		}
		args := slices.Concat([]string{"-O3"}, flags, []string{"-ffp-contract=off", "-fno-math-errno"},
			more, []string{"-o", "program", "rmsprop.c", "-lm"})
		return build("peers/c/rmsprop.c", compiler, nil, args...)
	}
}

// openPython returns what starts one of worker.py's libraries. The environment
// variable PYTHON picks the interpreter.
func openPython(library string) func() (peer, string, error) {
	return func() (peer, string, error) {
		python := os.Getenv("PYTHON")
		if python == "" {
			python = "python3"
		}
		python, err := exec.LookPath(python)
		if err != nil {
			return nil, "", err
		}
		dir, file, err := unpack("peers/python/worker.py")
		if err != nil {
			return nil, "", err
		}
		cmd := exec.Command(python, file, library)
		if useHugePages && library != "numpy" { // which sees to it itself, and is slower with both
			cmd.Env = append(os.Environ(), "GLIBC_TUNABLES=glibc.malloc.hugetlb=1") // since glibc 2.35
		}
		return startPeer(dir, cmd)
	}
}
