package kernel

import (
	"testing"
	"time"
)

// The clock is fine enough: with coarse ticks it would read the same before and after a chunk.
func TestClockIsFine(t *testing.T) {
	if len(plans[available[0]]) == 1 {
		t.Skip("nothing is timed here")
	}
	theta, grad, s := make([]float32, chunk), make([]float32, chunk), make([]float32, chunk)
	least := int64(1 << 62)
	for range 100 {
		begun := clock()
		Update(theta, grad, s, usual.LR, usual.Rho, usual.Eps)
		least = min(least, clock()-begun)
	}
	tick := int64(1 << 62)
	for before, changes := clock(), 0; changes < 100; {
		now := clock()
		if now < before {
			t.Fatalf("the clock goes back, from %d to %d", before, now)
		}
		if now > before {
			tick = min(tick, now-before)
			changes++
		}
		before = now
	}
	t.Logf("a tick of %d ns, a chunk of at least %d ns", tick, least)
	if tick > least/4 || least == 0 {
		t.Errorf("the clock ticks every %d ns, a chunk takes %d ns", tick, least)
	}
}

func TestClockIsNanoseconds(t *testing.T) {
	const pause, coarse = 100 * time.Millisecond, 20 * time.Millisecond // package time's ticks on Windows
	begun := time.Now()
	before := clock()
	time.Sleep(pause)
	elapsed := time.Duration(clock() - before)
	if wall := time.Since(begun); elapsed < pause-coarse || elapsed > wall+coarse {
		t.Errorf("the clock advanced by %v, package time's by %v", elapsed, wall)
	}
}
