package kernel

import (
	"math"
	"runtime"
	"sync"
	"testing"
)

// positive returns a float32 between the smallest subnormal one and the greatest power of two
// below the limit, each exponent equally likely.
func (r *generator) positive(limit float32) float32 {
	exponents := int(math.Float32bits(limit) >> 23)
	return math.Float32frombits(uint32(r.intn(exponents))<<23 | uint32(r.next()>>41))
}

// before returns the float32 below a threshold.
func before(x threshold) float64 { return float64(math.Nextafter32(x.float(), 0)) }

// A threshold is the smallest number that reaches the bound: the number below it does not,
// unless it is outside of the range.
func TestThresholds(t *testing.T) {
	many := 2_000_000
	if testing.Short() {
		many = 200_000
	}
	r := random(t, 51)
	for range many {
		for _, least := range []float64{normal, 0x1p-102} {
			k := float64(r.positive(0x1p127))
			for _, signed := range []float64{k, -k} {
				x := reach(float32(signed), float32(least))
				if fl(k*float64(x.float())) < least || x.float() < normal || x.float() > normal && fl(k*before(x)) >= least {
					t.Fatalf("k = %g: %g is not the smallest from 2^-126 up with |k*x| >= %g", signed, x.float(), least)
				}
			}
		}
		c := float64(r.positive(2))
		g := reachSquared(float32(c))
		square := func(g float64) float64 { return fl(c * fl(g*g)) }
		if square(float64(g.float())) < normal || g.float() < minRoot || g.float() > minRoot && square(before(g)) >= normal {
			t.Fatalf("c = %g: %g is not the smallest from 2^-63 up with c*g² >= 2^-126", c, g.float())
		}
	}
	for _, x := range []float32{0, 1, math.MaxFloat32, -math.MaxFloat32, inf, -inf} {
		if none := reach(0, minNormal); !none.flushes(x) || x >= none.float() {
			t.Errorf("%g reaches the threshold that no number reaches", x)
		}
	}
	if reachedByNone.flushes(nan) || reachedByNone.flushes(-nan) {
		t.Error("NaN counts as zero")
	}
	if got := reachSquared(0); got.float() != minRoot {
		t.Errorf("c = 0: %g, want 2^-63", got.float())
	}
	for rho, want := range map[float64]float32{0.9: 3.43e-19, 0.99: 1.08e-18, 0.999: 3.43e-18} {
		if got := reachSquared(float32(1 - rho)).float(); math.Abs(float64(got/want)-1) > 0.01 {
			t.Errorf("rho = %g: T = %g, want %g", rho, got, want)
		}
	}
}

// Concurrent callers with different hyperparameters get their own thresholds.
func TestThresholdsConcurrent(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := generator(i)
			var rhos [8]float32
			for j := range rhos {
				rhos[j] = r.positive(1)
			}
			for turn := range 200_000 {
				rho := rhos[turn/(i+1)%len(rhos)]
				c := 1 - rho
				minGrad, minMean := thresholdOf(c, &lastGrad, reachSquared), thresholdOf(rho, &lastMean, reachMean)
				if minGrad != reachSquared(c) || minMean != reach(rho, minNormal) {
					t.Errorf("rho = %g: %g, %g, want %g, %g", rho, minGrad.float(), minMean.float(),
						reachSquared(c).float(), reach(rho, minNormal).float())
					return
				}
			}
		}()
	}
	wg.Wait()
}
