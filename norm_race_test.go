//go:build race

package kernel

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The race detector sees what the assembly reads: this test starts itself again
// and races there on purpose, at the last element of the first block and at that
// of the last.
func TestSumSquaresRaceIsReported(t *testing.T) {
	const variable = "KERNEL_TEST_SUM_RACE_AT"
	x := make([]float32, normBlock+100)
	if at := os.Getenv(variable); at != "" {
		at, blocks := strings.CutPrefix(at, "blockSums, ")
		var wg waitGroup
		for range 2 {
			wg.Go(func() {
				if blocks {
					blockSums(make([]float64, 2), x)
				} else {
					SumSquares(x)
				}
			})
		}
		switch at {
		case "first block":
			x[normBlock-1] = 1
		case "last block":
			x[normBlock+99] = 1
		}
		wg.Wait()
		return
	}
	forEachISA(t, func(t *testing.T) {
		for _, at := range []string{"first block", "last block", "nowhere",
			"blockSums, first block", "blockSums, last block", "blockSums, nowhere"} {
			cmd := exec.Command(os.Args[0], "-test.run=^TestSumSquaresRaceIsReported$")
			cmd.Env = append(os.Environ(), variable+"="+at, "KERNEL_ISA="+ISA())
			out, _ := cmd.CombinedOutput()
			if got, want := strings.Contains(string(out), "DATA RACE"), !strings.HasSuffix(at, "nowhere"); got != want {
				t.Errorf("a race in the %s: reported: %v\n%s", at, got, out)
			}
		}
	})
}
