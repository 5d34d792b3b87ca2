//go:build (linux || darwin) && (amd64 || arm64)

package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"
	"github.com/klauspost/cpuid/v2"
)

//go:embed peers/rmsprop.c
var cSource []byte

// cArgs is the struct args in peers/rmsprop.c.
type cArgs struct {
	theta, grad, s     *float32
	n, steps           int
	lr, rho, rest, eps float32
}

// openC returns what compiles the formula in C for this CPU and loads it, so that
// it works on the same arrays as kernel does. The environment variable CC picks
// the compiler. What the flags say of vectors has to be of use here.
func openC(more ...string) func(w *workspace) (peer, string, error) {
	return func(w *workspace) (peer, string, error) {
		if strings.Contains(strings.Join(more, " "), "512") && !cpuid.CPU.Supports(cpuid.AVX512F) {
			return nil, "", fmt.Errorf("it is %s, since this CPU has no AVX-512: %w", theCLoop, errors.ErrUnsupported)
		}
		compiler := os.Getenv("CC")
		for _, name := range []string{"gcc", "cc", "clang"} {
			if compiler == "" {
				compiler, _ = exec.LookPath(name)
			}
		}
		if compiler == "" {
			return nil, "", fmt.Errorf("no gcc, cc or clang: %w", exec.ErrNotFound)
		}
		dir, err := os.MkdirTemp("", "kernel-bench-")
		if err != nil {
			return nil, "", err
		}
		defer os.RemoveAll(dir)
		source, library := filepath.Join(dir, "rmsprop.c"), filepath.Join(dir, "rmsprop.so")
		if err := os.WriteFile(source, cSource, 0o600); err != nil {
			return nil, "", err
		}
		native := "-march=native"
		if runtime.GOARCH == "arm64" {
			native = "-mcpu=native"
		}
		flags := slices.Concat([]string{"-O3", native, "-ffp-contract=off", "-fno-math-errno"}, more,
			[]string{"-shared", "-fPIC", "-o", library, source, "-lm"})
		if out, err := exec.Command(compiler, flags...).CombinedOutput(); err != nil {
			return nil, "", fmt.Errorf("%s: %w: %s", compiler, err, lastLines(string(out)))
		}
		loaded, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_LOCAL)
		if err != nil {
			return nil, "", err
		}
		take, err1 := purego.Dlsym(loaded, "take")
		tell, err2 := purego.Dlsym(loaded, "tell")
		if err := errors.Join(err1, err2); err != nil {
			return nil, "", err
		}
		var version [40]byte
		purego.SyscallN(tell, uintptr(unsafe.Pointer(&version[0])), uintptr(len(version)))
		return &local{workspace: w, take: func(steps int) error {
			a := &cArgs{&w.theta[0], &w.grad[0], &w.s[0], len(w.theta), steps, lr, rho, 1 - rho, eps}
			purego.SyscallN(take, uintptr(unsafe.Pointer(a)))
			runtime.KeepAlive(a)
			return nil
		}}, before(string(version[:]), "\x00"), nil
	}
}
