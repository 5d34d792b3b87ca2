package kernel

import (
	"math"
	"testing"
)

func TestClockNanoseconds(t *testing.T) {
	for _, c := range []struct {
		ticks, frequency uint64
		want             int64
	}{
		{0, 10_000_000, 0},
		{1, 10_000_000, 100},
		{10_000_001, 10_000_000, 1_000_000_100},
		{3, 3_579_545, 838},
		{2_999_999_999, 3_000_000_000, 999_999_999},
		{90_000_000_000_000_000, 10_000_000, 9_000_000_000_000_000_000}, // 285 years
		{math.MaxInt64, 1_000_000_000, math.MaxInt64},
	} {
		if got := nanoseconds(c.ticks, c.frequency); got != c.want {
			t.Errorf("%d ticks at %d Hz: %d ns, want %d", c.ticks, c.frequency, got, c.want)
		}
	}
}
