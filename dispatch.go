package kernel

//go:generate sh asm2plan9s.sh kernel_arm64.h norm_arm64.s

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
)

// isa is an implementation, named for the instruction set that it needs.
type isa uint32

const (
	isaGeneric isa = iota
	isaNEON
	isaAVX2
	isaAVX512
)

var isaNames = [...]string{isaGeneric: "generic", isaNEON: "neon", isaAVX2: "avx2", isaAVX512: "avx512"}

func (i isa) String() string { return isaNames[i] }

// available lists what this CPU can run, best first. detect is the only code
// that asks the CPU.
var available = append(detect(), isaGeneric)

// active is the isa in use. It is atomic so that SetISA may be called while
// other goroutines are in Update: the bits are the same either way.
var active atomic.Uint32

// init takes the first implementation of the list in KERNEL_ISA that there is, and
// the plan in KERNEL_PLAN. One variable may be set for machines that are not alike,
// so other names are passed over: a package that ended the program or wrote to
// standard error here would be in its host's way.
func init() {
	active.Store(uint32(available[0]))
	for name := range strings.SplitSeq(os.Getenv("KERNEL_ISA"), ",") {
		if SetISA(strings.TrimSpace(name)) == nil {
			break
		}
	}
	_ = SetPlan(os.Getenv("KERNEL_PLAN")) // of that implementation
}

// ISA returns the name of the implementation in use: "avx512", "avx2", "neon"
// or "generic".
func ISA() string { return isa(active.Load()).String() }

// ISAs returns the names of the implementations that this CPU can run, best
// first. The last is always "generic".
func ISAs() []string {
	names := make([]string, len(available))
	for i, a := range available {
		names[i] = a.String()
	}
	return names
}

// SetISA makes every later [Update] use the named implementation, one of
// [ISAs]; any other name is an error and changes nothing. It is meant for tests
// and benchmarks: by default the best one is used. The environment variable
// KERNEL_ISA, such as avx512,avx2, does the same when the program starts: the
// first of the list that is available is used, and the best one where none is.
func SetISA(name string) error {
	i := slices.IndexFunc(available, func(a isa) bool { return a.String() == name })
	if i < 0 {
		return fmt.Errorf("kernel: no implementation %q here: available are %s", name, strings.Join(ISAs(), ", "))
	}
	active.Store(uint32(available[i]))
	return nil
}
