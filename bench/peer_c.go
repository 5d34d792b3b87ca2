//go:build (linux || darwin) && (amd64 || arm64)

package main

import (
	"bytes"
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/ebitengine/purego"
	"github.com/klauspost/cpuid/v2"
)

//go:embed peers/rmsprop.c
var cSource []byte

func init() {
	candidates = append([]candidate{
		{theCLoop, exact, openC()},
		{"c-512", exact, openC("-mprefer-vector-width=512")},
		{"c-avx2", exact, openC("-mavx2", "-mno-avx512f")},
		{"c-fast-math", approximate, openC("-ffast-math")},
	}, candidates...)
}

// openC returns a function that compiles the formula in C for this CPU and loads it, so that it works
// on the same arrays as kernel. The environment variable CC names the compiler. Flags for vectors
// that this CPU lacks are an error.
func openC(more ...string) func(w *workspace) (peer, string, error) {
	return func(w *workspace) (peer, string, error) {
		if strings.Contains(strings.Join(more, " "), "512") && !cpuid.CPU.Supports(cpuid.AVX512F) {
			return nil, "", fmt.Errorf("it is %s, since this CPU has no AVX-512: %w", theCLoop, errors.ErrUnsupported)
		}
		dir, err := os.MkdirTemp("", "kernel-bench-")
		if err != nil {
			return nil, "", err
		}
		defer os.RemoveAll(dir)
		native := "-march=native"
		if runtime.GOARCH == "arm64" {
			native = "-mcpu=native"
		}
		library := filepath.Join(dir, "rmsprop.so")
		flags := slices.Concat([]string{"-O3", native, "-ffp-contract=off", "-fno-math-errno"}, more,
			[]string{"-shared", "-fPIC", "-o", library, "-x", "c", "-", "-lm"})
		compile := exec.Command(cmp.Or(os.Getenv("CC"), "cc"), flags...)
		compile.Stdin = bytes.NewReader(cSource)
		if out, err := compile.CombinedOutput(); err != nil {
			return nil, "", fmt.Errorf("%s: %w: %s", compile.Path, err, lastLines(string(out)))
		}
		loaded, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_LOCAL)
		if err != nil {
			return nil, "", err
		}
		var take func(theta, grad, s *float32, n, steps int, lr, rho, rest, eps float32)
		var compiler func() string
		purego.RegisterLibFunc(&take, loaded, "take")
		purego.RegisterLibFunc(&compiler, loaded, "compiler")
		return &local{workspace: w, take: func(steps int) error {
			take(&w.theta[0], &w.grad[0], &w.s[0], len(w.theta), steps, lr, rho, 1-rho, eps)
			return nil
		}}, compiler(), nil
	}
}
