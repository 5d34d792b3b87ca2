// Capi is the package kernel as a C library: go build -buildmode=c-shared.
// kernel.h, written by hand, is its interface and says what each function does.
// Its functions are in process.c, which calls those here.
package main

/*
#include "process.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unsafe"

	"github.com/seed57504d97/kernel"
)

// version is set by the linker: -X main.version=…
var version = "unknown"

func main() {}

// ---- Arguments ----

// A failure is what a call is refused for.
type failure string

func refusef(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

// guard turns what a call panics with into a code and a message.
func guard(message *C.char, size C.int64_t, code *C.int32_t) {
	switch problem := recover().(type) {
	case nil:
	case failure:
		*code = C.KERNEL_INVALID
		say(message, size, string(problem))
	case *kernel.ArgumentError:
		*code = C.KERNEL_INVALID
		say(message, size, plain(problem))
	default:
		*code = C.KERNEL_FAILED
		say(message, size, fmt.Sprintf("internal error: %v", problem))
	}
}

// plain is the text of an error in C's words: one line, without the package's
// name, and the fields called as in kernel.h.
func plain(err error) string {
	const prefix = "kernel: "
	var wrong *kernel.ArgumentError
	if !errors.As(err, &wrong) {
		return strings.TrimPrefix(err.Error(), prefix)
	}
	var lines []string
	for _, e := range append([]*kernel.ArgumentError{wrong}, wrong.Others...) {
		c := kernel.ArgumentError{Tensor: tensorInC(e.Tensor), Name: nameInC(e.Name), Value: e.Value, Want: wantInC.Replace(e.Want)}
		if v, ok := e.Value.(kernel.Overlap); ok {
			c.Value = kernel.Overlap{Tensor: tensorInC(v.Tensor), Name: nameInC(v.Name), Bytes: v.Bytes}
		}
		lines = append(lines, strings.TrimPrefix(c.Error(), prefix))
	}
	return strings.Join(lines, "; ")
}

func tensorInC(name string) string { return strings.Replace(name, "params", "tensors", 1) }

func nameInC(name string) string {
	if place, ok := strings.CutPrefix(name, "Rows["); ok {
		return "rows[" + place
	}
	if c, ok := namesInC[name]; ok {
		return c
	}
	return name
}

// namesInC has the fields that kernel.h calls otherwise.
var namesInC = map[string]string{
	"Theta": "theta", "Grad": "grad",
	"State.MeanSquare": "mean_square", "State.MeanGrad": "mean_grad", "State.MomentumBuffer": "momentum",
	"LR": "lr", "Rho": "rho", "Eps": "eps", "Momentum": "momentum", "FirstMoment": "first_moment",
	"Width": "width", "WeightDecay": "weight_decay", "LossScale": "loss_scale", "ClipValue": "clip_value",
}

// wantInC does the same in what is expected.
var wantInC = strings.NewReplacer("Theta", "theta", "Width", "width", "len(Rows)", "rows_count")

// say puts text into a buffer of size bytes, as much of it as fits in whole
// characters.
func say(message *C.char, size C.int64_t, text string) {
	if message == nil || size <= 0 {
		return
	}
	for len(text) > int(size)-1 {
		text = text[:strings.LastIndexFunc(text, func(rune) bool { return true })]
	}
	buffer := unsafe.Slice((*byte)(unsafe.Pointer(message)), len(text)+1)
	buffer[copy(buffer, text)] = 0
}

// array is the slice of n elements that begins at start; one of none is nil.
// name is how the message calls it.
func array[T any](start *T, n C.int64_t, name string) []T {
	var element T
	if n < 0 {
		refusef("%s: length %d: must not be negative", name, n)
	}
	if n == 0 {
		return nil
	}
	if start == nil {
		refusef("%s = NULL: missing, length %d", name, n)
	}
	address, size := uintptr(unsafe.Pointer(start)), unsafe.Sizeof(element)
	if address%unsafe.Alignof(element) != 0 {
		refusef("%s = %#x: must be a multiple of %d", name, address, unsafe.Alignof(element))
	}
	if uint64(n) > uint64(math.MaxInt)/uint64(size) || address+uintptr(n)*size < address {
		refusef("%s: length %d: reaches beyond the end of memory", name, n)
	}
	return unsafe.Slice(start, int(n))
}

func floats(start *C.float, n C.int64_t, name string) []float32 {
	return array((*float32)(unsafe.Pointer(start)), n, name)
}

// ---- Functions ----

//export kernelgo_update
func kernelgo_update(theta, grad, s *C.float, n C.int64_t, lr, rho, eps C.double, message *C.char, size C.int64_t) (code C.int32_t) {
	defer guard(message, size, &code)
	kernel.Update(floats(theta, n, "theta"), floats(grad, n, "grad"), floats(s, n, "s"),
		float64(lr), float64(rho), float64(eps))
	return C.KERNEL_OK
}

//export kernelgo_sum_squares
func kernelgo_sum_squares(x *C.float, n C.int64_t, sum *C.double, message *C.char, size C.int64_t) (code C.int32_t) {
	defer guard(message, size, &code)
	array(sum, 1, "sum")[0] = C.double(kernel.SumSquares(floats(x, n, "x")))
	return C.KERNEL_OK
}

// isaNames are C's copies of the names, made once.
var isaNames = map[string]*C.char{}

func init() {
	for _, name := range kernel.ISAs() {
		isaNames[name] = C.CString(name)
	}
	C.process_ready(isaNames[kernel.ISA()], C.CString(strings.Join(kernel.ISAs(), ",")), C.CString(version))
}

// kernelgo_touch does nothing: a call of it waits until the runtime is ready, and
// makes the thread known to it.
//
//export kernelgo_touch
func kernelgo_touch() {}

//export kernelgo_set_isa
func kernelgo_set_isa(name *C.char, now **C.char, message *C.char, size C.int64_t) (code C.int32_t) {
	defer guard(message, size, &code)
	if name == nil {
		refusef("name = NULL: missing")
	}
	if err := kernel.SetISA(C.GoString(name)); err != nil {
		refusef("name: %s", plain(err))
	}
	*now = isaNames[kernel.ISA()]
	return C.KERNEL_OK
}
