package kernel

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/seed57504d97/kernel/internal/asmcheck"
)

// The machine code of the kernels for each GOARCH that has some, on any CPU.
func TestMachineCode(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two test binaries")
	}
	for _, m := range asmcheck.Machines {
		t.Run(m.GOARCH, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), "kernel.test")
			build := exec.Command("go", "test", "-c", "-o", binary, ".")
			build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+m.GOARCH, "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", build, err, out)
			}
			problems, checked, err := m.Check(binary, "github.com/seed57504d97/kernel")
			if errors.Is(err, asmcheck.ErrNoTools) {
				t.Skip("THE MACHINE CODE WAS NOT CHECKED:", err)
			} else if err != nil {
				t.Fatal(err)
			}
			for _, problem := range problems {
				t.Error(problem)
			}
			// A kernel for each layout, and one for SumSquares; two for the float mode.
			want := map[string]map[string]int{
				"amd64": {"AVX2": int(layouts) + 1, "AVX512": int(layouts) + 1, "": 2},
				"arm64": {"NEON": int(layouts) + 1, "": 2},
			}[m.GOARCH]
			if !maps.Equal(checked, want) {
				t.Errorf("functions: %v, want %v", checked, want)
			}
		})
	}
}
