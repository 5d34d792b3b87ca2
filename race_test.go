//go:build race

package kernel

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The race detector sees what the assembly reads and writes: this test starts
// itself again and races there on purpose.
func TestRaceIsReported(t *testing.T) {
	const variable = "KERNEL_TEST_RACE_ON"
	shared := func() []float32 { return make([]float32, 100) }
	if slice := os.Getenv(variable); slice != "" {
		theta, grad, s, m, b := shared(), shared(), shared(), shared(), shared()
		slice, member := strings.CutPrefix(slice, "member ")
		var wg waitGroup
		for range 2 {
			wg.Go(func() {
				t1, s1 := shared(), shared()
				switch slice {
				case "theta":
					t1 = theta
				case "s":
					s1 = s
				}
				m1, b1 := shared(), shared()
				switch slice {
				case "m":
					m1 = m
				case "b":
					b1 = b
				}
				if member {
					o := RMSProp{LR: 0.1, Rho: 0.9, Eps: 1e-7, Centered: true, Momentum: 0.9}
					o.Update(t1, grad, &State{MeanSquare: s1, MeanGrad: m1, Momentum: b1})
				} else {
					Update(t1, grad, s1, 0.1, 0.9, 1e-7)
				}
			})
		}
		if slice == "grad" {
			grad[99] = 1
		}
		wg.Wait()
		return
	}
	forEachISA(t, func(t *testing.T) {
		for _, slice := range []string{"theta", "s", "grad", "none",
			"member theta", "member s", "member m", "member b", "member grad", "member none"} {
			cmd := exec.Command(os.Args[0], "-test.run=^TestRaceIsReported$")
			cmd.Env = append(os.Environ(), variable+"="+slice, "KERNEL_ISA="+ISA())
			out, _ := cmd.CombinedOutput()
			if got, want := strings.Contains(string(out), "DATA RACE"), !strings.HasSuffix(slice, "none"); got != want {
				t.Errorf("a race on %s: reported: %v\n%s", slice, got, out)
			}
		}
	})
}
