package kernel

import (
	"errors"
	"sync"
)

// The module asks for no newer Go than 1.24. These are what the tests would take
// from the library of a later one.

// errorAs is errors.AsType of Go 1.26: the first E that err holds, and whether
// there is one.
func errorAs[E error](err error) (found E, ok bool) {
	ok = errors.As(err, &found)
	return found, ok
}

// waitGroup has the method Go of Go 1.25: f in a goroutine that is waited for.
type waitGroup struct{ sync.WaitGroup }

func (wg *waitGroup) Go(f func()) {
	wg.Add(1)
	go func() {
		defer wg.Done()
		f()
	}()
}
