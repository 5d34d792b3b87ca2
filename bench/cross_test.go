package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestReadGolden(t *testing.T) {
	const pass = `=== RUN   TestGolden
=== RUN   TestGolden/neon
=== RUN   TestGolden/generic
--- PASS: TestGolden (0.59s)
    --- PASS: TestGolden/neon (0.28s)
    --- PASS: TestGolden/generic (0.31s)
PASS
`
	isas, problem := readGolden(pass)
	if !slices.Equal(isas, []string{"neon", "generic"}) || problem != "" {
		t.Errorf("%q, %q", isas, problem)
	}
	isas, problem = readGolden(strings.Replace(pass, "PASS: TestGolden/neon", "FAIL: TestGolden/neon", 1))
	if !slices.Equal(isas, []string{"neon", "generic"}) || problem != "neon differs" {
		t.Errorf("%q, %q", isas, problem)
	}
	if isas, problem = readGolden("Illegal instruction"); isas != nil || !strings.Contains(problem, "Illegal instruction") {
		t.Errorf("%q, %q", isas, problem)
	}
}

// This machine's own test binary says that the bits are the same.
func TestGoldenHere(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip(err)
	}
	v, ok := golden(targets()[0], builder{source: "..", dir: t.TempDir()})
	if !ok || !v.same() || !slices.Contains(v.Implementations, "generic") {
		t.Errorf("%+v, %v", v, ok)
	}
}
