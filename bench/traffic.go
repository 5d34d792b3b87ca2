package main

// A trafficLoop loads theta, grad, s and those of m and b that are not nil, and
// stores all but grad, which is all the memory traffic of an RMSProp step, with
// next to no arithmetic: theta moves by tiny*grad and the others stay. No
// implementation can be faster than it.
type trafficLoop struct {
	isa  string
	pass func(theta, grad, s, m, b []float32)
}

// tiny is small enough that theta hardly moves, and large enough that no
// product is subnormal.
const tiny = 0x1p-40

// trafficGo is the loop where there is no assembly, and a weak limit there.
var trafficGo = trafficLoop{"go", func(theta, grad, s, m, b []float32) {
	switch m = either(m, &b); {
	case m == nil:
		trafficPass3(theta, grad, s, 1)
	case b == nil:
		trafficPass4(theta, grad, s, m, 1)
	default:
		trafficPass5(theta, grad, s, m, b, 1)
	}
}}

// either returns m, or *b in its place where m is nil: to the traffic it is all
// the same which of the two a step has.
func either(m []float32, b *[]float32) []float32 {
	if m == nil {
		m, *b = *b, nil
	}
	return m
}

// trafficPass3 and those that follow multiply what stays by one, which the
// compiler must not know: it would leave out storing what was just loaded.
//
//go:noinline
func trafficPass3(theta, grad, s []float32, one float32) {
	grad, s = grad[:len(theta)], s[:len(theta)]
	for i := range theta {
		theta[i] += float32(grad[i] * tiny)
		s[i] *= one
	}
}

//go:noinline
func trafficPass4(theta, grad, s, m []float32, one float32) {
	grad, s, m = grad[:len(theta)], s[:len(theta)], m[:len(theta)]
	for i := range theta {
		theta[i] += float32(grad[i] * tiny)
		s[i] *= one
		m[i] *= one
	}
}

//go:noinline
func trafficPass5(theta, grad, s, m, b []float32, one float32) {
	grad, s, m, b = grad[:len(theta)], s[:len(theta)], m[:len(theta)], b[:len(theta)]
	for i := range theta {
		theta[i] += float32(grad[i] * tiny)
		s[i] *= one
		m[i] *= one
		b[i] *= one
	}
}
