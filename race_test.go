//go:build race

package kernel

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The race detector sees what the assembly reads and writes. This test starts itself again and
// races on purpose, with a shared slice or with an element that is written while it is read.
func TestRaceIsReported(t *testing.T) {
	const variable = "KERNEL_TEST_RACE"
	const n = normBlock + 100
	steps := map[string]func(d tensorData){
		"Update":         variant{usual, byUpdate}.step,
		"RMSProp.Update": variant{everything, byMethod}.step,
		"SumSquares":     func(d tensorData) { SumSquares(d.grad) },
		"blockSums":      func(d tensorData) { blockSums(make([]float64, 2), d.grad) },
	}
	if race := os.Getenv(variable); race != "" {
		by, shared, _ := strings.Cut(race, ": ")
		d := everything.allocate(n)
		var wg waitGroup
		for range 2 {
			wg.Go(func() {
				steps[by](d.replace(func(i int, x []float32) []float32 {
					if i == 1 || sliceNames[i] == shared { // grad may be read by both
						return x
					}
					return make([]float32, n)
				}))
			})
		}
		switch shared {
		case "grad, first block":
			d.grad[normBlock-1] = 1
		case "grad, last block":
			d.grad[n-1] = 1
		}
		wg.Wait()
		return
	}
	for _, name := range ISAs() {
		t.Run(name, func(t *testing.T) {
			for by := range steps {
				shares := []string{"nothing", "grad, first block", "grad, last block"}
				switch by {
				case "Update":
					shares = append(shares, "theta", "s")
				case "RMSProp.Update":
					shares = append(shares, "theta", "s", "m", "b")
				}
				for _, shared := range shares {
					cmd := exec.Command(os.Args[0], "-test.run=^TestRaceIsReported$")
					cmd.Env = append(os.Environ(), variable+"="+by+": "+shared, "KERNEL_ISA="+name)
					out, _ := cmd.CombinedOutput()
					if got, want := strings.Contains(string(out), "DATA RACE"), shared != "nothing"; got != want {
						t.Errorf("%s, %s shared: reported: %v\n%s", by, shared, got, out)
					}
				}
			}
		})
	}
}
