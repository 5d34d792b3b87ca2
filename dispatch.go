package kernel

//go:generate sh asm2plan9s.sh kernel_arm64.s norm_arm64.s

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
	isaBest512 // AVX-512, or AVX2 if that is faster: the default on CPUs with AVX-512
)

var isaNames = [...]string{isaGeneric: "generic", isaNEON: "neon", isaAVX2: "avx2", isaAVX512: "avx512", isaBest512: "avx512"}

func (i isa) String() string { return isaNames[i] }

// available lists what this CPU can run, best first. detect asks the CPU what it
// supports.
var available = append(detect(), isaGeneric)

// byDefault is the implementation in use unless one is forced.
var byDefault = func() isa {
	if available[0] == isaAVX512 {
		return isaBest512
	}
	return available[0]
}()

// selected is the implementation in use, from bit 8, and 1 + the place of the plan that
// setPlan fixed, or 0. It is one word, so that a call sees both or neither of a
// change. The bits of a step are the same either way.
var selected atomic.Uint32

// selection returns the implementation in use and the place of its fixed plan, or -1.
func selection() (i isa, plan int) {
	s := selected.Load()
	return isa(s >> 8), int(s&0xff) - 1
}

// init selects the first implementation of the list in KERNEL_ISA that is available,
// and the plan in KERNEL_PLAN. It ignores other names: one variable may be set for
// different machines, and a library must not end its host's program or write to its
// standard error.
func init() {
	selected.Store(uint32(byDefault) << 8)
	for name := range strings.SplitSeq(os.Getenv("KERNEL_ISA"), ",") {
		if name = strings.TrimSpace(name); name != "" && SetISA(name) == nil {
			break
		}
	}
	_ = setPlan(os.Getenv("KERNEL_PLAN"))
}

// ISA returns the name of the implementation in use: "avx512", "avx2", "neon"
// or "generic".
func ISA() string {
	i, _ := selection()
	return i.String()
}

// ISAs returns the names of the implementations that this CPU can run, best
// first. The last is always "generic".
func ISAs() []string {
	names := make([]string, len(available))
	for i, a := range available {
		names[i] = a.String()
	}
	return names
}

// SetISA makes every later call use the named implementation, one of [ISAs]. It is meant
// for tests and benchmarks. With the empty name the package chooses again, as it does by
// default: the best implementation, except that a CPU with AVX-512 uses AVX2 for long
// steps if that was measured to be faster. Any other name is an error and changes
// nothing. The bits are the same in every implementation, so SetISA may be called while
// steps run.
//
// The environment variable KERNEL_ISA, such as avx512,avx2, does the same when the
// program starts: the first name in the list that is available is used, and the default
// if none is.
func SetISA(name string) error {
	i := byDefault
	if name != "" {
		place := slices.IndexFunc(available, func(a isa) bool { return a.String() == name })
		if place < 0 {
			return fmt.Errorf("kernel: implementation %q, want one of %s", name, strings.Join(ISAs(), ", "))
		}
		i = available[place]
	}
	selected.Store(uint32(i) << 8)
	return nil
}
