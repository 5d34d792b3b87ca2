//go:build (amd64 || arm64) && gc && !purego

package kernel

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
)

// floatModes lists modes that a host may leave a thread in.
var floatModes = map[string]map[string]uint32{
	"amd64": {"flush to zero": 0x9fc0, "down": 0x3f80, "up": 0x5f80, "towards zero": 0x7f80, "flush, up": 0xdfc0},
	"arm64": {"flush to zero": 1 << 24, "up": 1 << 22, "down": 2 << 22, "towards zero": 3 << 22, "flush, up": 1<<24 | 1<<22},
}[runtime.GOARCH]

// modeSteps returns a function that computes steps of every kind on the same data and returns
// their results.
func modeSteps() func() string {
	const n, width = 143, 13 // blocks of each implementation, and a rest
	r := generator(71)
	steps := append(variants[:1:1], variant{everything, byMethod}, variant{PyTorch(), byMethod}, variant{GoMLX(), byMethod})
	var data, long []tensorData
	for _, v := range steps {
		d := v.allocate(n)
		r.training(d)
		d.theta[3], d.theta[140], d.grad[3], d.grad[140] = 1e-40, 1e-40, 0, 0
		data = append(data, d)
		l := v.allocate(3*share + 5)
		r.training(l)
		long = append(long, l)
	}
	return func() string {
		var out strings.Builder
		for i, v := range steps {
			d := data[i].clone()
			v.step(d)
			fmt.Fprintf(&out, "%v: %x %x %x %x\n", v, bytesOf(d.theta), bytesOf(d.s), bytesOf(d.m), bytesOf(d.b))
			v.UpdateRows(d.theta, d.grad[:2*width], d.state(), []int{10, 3}, width)
			fmt.Fprintf(&out, "rows: %x %x\n", bytesOf(d.theta), bytesOf(d.s))
			grad, _ := CoalesceRows(d.grad, []int{1, 2, 1, 3, 2, 5, 5, 6, 1, 2, 3}, width)
			fmt.Fprintf(&out, "coalesced: %x, sum %v\n", bytesOf(grad), SumSquares(grad))

			l := long[i].clone()
			o := Optimizer{Options: v.RMSProp, ClipNorm: 0.1, Workers: 2}
			params := []Param{{Theta: l.theta, Grad: l.grad, State: l.state()}, {Theta: d.theta[:7:7], Grad: d.grad[:7]}}
			for range 3 {
				report, err := o.Step(params)
				fmt.Fprintln(&out, report, err)
			}
			fmt.Fprintf(&out, "optimizer: %x\n", sha256.Sum256(append(bytesOf(l.theta), bytesOf(l.s)...)))
		}
		return out.String()
	}
}

// The bits do not depend on the calling thread's mode, and the thread keeps its mode.
func TestFloatMode(t *testing.T) {
	steps := modeSteps()
	forEachISA(t, func(t *testing.T) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if mode := floatMode(); mode != defaultFloatMode {
			t.Fatalf("mode %#x, want %#x", mode, defaultFloatMode)
		}
		want := steps()
		for name, mode := range floatModes {
			inFloatMode(mode, func() {
				got := steps()
				if after := floatMode(); after != mode {
					t.Errorf("%s: mode %#x after the steps, want %#x", name, after, mode)
				}
				setFloatMode(defaultFloatMode)
				if got != want {
					t.Errorf("%s: other bits", name)
				}
			})
		}
	})
}

// inFloatMode calls f in a mode, which f may change.
func inFloatMode(mode uint32, f func()) {
	defer setFloatMode(floatMode())
	setFloatMode(mode)
	f()
}

// The modes change what unguarded code computes, so the tests here can fail.
func TestFloatModeMatters(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	d := usual.allocate(100)
	r := generator(72)
	r.training(d)
	d.theta[0], d.grad[0] = 1e-40, 0
	k := usual.rounded(1, 1)
	want := d.clone()
	want.generic(&k)
	for name, mode := range floatModes {
		got := d.clone()
		inFloatMode(mode, func() { got.generic(&k) })
		if slices.Equal(got.theta, want.theta) {
			t.Errorf("%s: the same bits", name)
		}
	}
}

// A step that panics puts the mode back.
func TestFloatModeAfterPanic(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, mode := range floatModes {
		inFloatMode(mode, func() {
			err := recovered(func() { Update(make([]float32, 1), nil, nil, 0.1, 0.9, 1e-7) })
			if _, ok := errorAs[*ArgumentError](err); !ok || floatMode() != mode {
				t.Errorf("panic value %v, mode %#x, want %#x", err, floatMode(), mode)
			}
		})
	}
}

// Goroutines that help a step may run on threads in another mode. This test starts itself
// again, because it leaves threads in that mode behind.
func TestFloatModeOfWorkers(t *testing.T) {
	const variable = "KERNEL_TEST_FLOAT_MODE"
	steps := modeSteps()
	if name := os.Getenv(variable); name != "" {
		// This goroutine must not move to another thread in the middle of a step, because here
		// some threads have the mode and some do not. Go's own threads never differ.
		runtime.LockOSThread()
		debug.SetGCPercent(-1)
		runtime.GOMAXPROCS(4)
		var all, ready sync.WaitGroup
		const threads = 16
		all.Add(threads)
		ready.Add(threads)
		for range threads {
			go func() {
				defer all.Done()
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				setFloatMode(floatModes[name])
				ready.Done()
				ready.Wait() // on as many threads
			}()
		}
		all.Wait()
		for range 20 {
			fmt.Println(steps())
		}
		os.Exit(0)
	}
	want := steps()
	for name := range floatModes {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFloatModeOfWorkers$")
		cmd.Env = append(os.Environ(), variable+"="+name)
		out, err := cmd.Output()
		if _, exited := errorAs[*exec.ExitError](err); err != nil && !exited {
			t.Skip("an emulator runs this test, but not what it starts:", err)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, got := range slices.DeleteFunc(strings.Split(string(out), "\n\n"), func(s string) bool { return s == "" }) {
			if strings.TrimSpace(got) != strings.TrimSpace(want) {
				t.Errorf("%s: other bits\n%.300s\nwant\n%.300s", name, got, want)
				break
			}
		}
	}
}
