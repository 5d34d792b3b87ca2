package main

// A trafficLoop loads theta, grad and s and stores theta and s, which is all
// the memory traffic of an RMSProp step, with next to no arithmetic: theta
// moves by tiny*grad and s stays. No implementation can be faster than it.
type trafficLoop struct {
	isa  string
	pass func(theta, grad, s []float32)
}

// tiny is small enough that theta hardly moves, and large enough that no
// product is subnormal.
const tiny = 0x1p-40

// trafficGo is the loop where there is no assembly, and a weak limit there.
var trafficGo = trafficLoop{"go", func(theta, grad, s []float32) { trafficPass(theta, grad, s, 1) }}

// trafficPass multiplies s by one, which the compiler must not know: it would
// leave out storing what was just loaded.
//
//go:noinline
func trafficPass(theta, grad, s []float32, one float32) {
	grad, s = grad[:len(theta)], s[:len(theta)]
	for i := range theta {
		theta[i] += float32(grad[i] * tiny)
		s[i] *= one
	}
}
