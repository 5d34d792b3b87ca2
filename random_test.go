package kernel

import (
	"flag"
	"sync"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "of the tests' random numbers; 0: another one in each run")

// seed is the run's.
var seed = sync.OnceValue(func() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return uint64(time.Now().UnixNano())
})

// random returns random numbers that differ from run to run, and from stream to
// stream. A test that fails tells the seed with which it does so again.
func random(t testing.TB, stream int) generator {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again with -seed %d", seed())
		}
	})
	r := generator(seed() + uint64(stream))
	r = generator(r.next()) // streams are not each other, some numbers later
	return r
}
