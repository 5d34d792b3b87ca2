// Package tuning lets benchmarks and tests choose among a kernel implementation's plans:
// ways to compute a step at other speeds, with the same bits. A plan's name, such as
// avx2/v4r2+256, says that it runs on AVX2, works on blocks of four vectors, computes the
// square roots of two of them in software, and prefetches 256 bytes ahead.
//
// Package kernel sets these functions when it is loaded. They may be called at any time,
// also while steps run.
package tuning

var (
	// Plans returns the names of the plans of the implementation in use.
	Plans func() []string

	// SetPlan makes every call use the named plan until SetISA or SetPlan is called
	// again. With the empty name, long calls time all plans and choose the fastest, as
	// they do by default. An unknown name is an error and changes nothing.
	SetPlan func(name string) error

	// Plan returns the name of the plan that Update uses for n elements, or "" while
	// plans are still being timed.
	Plan func(n int) string
)
