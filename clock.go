package kernel

// clock returns the time in nanoseconds since a fixed point. It never goes back, and it
// is fine enough to time a chunk. If a system's clock is too coarse for that, all times
// are equal and the first plan stays. Tests replace it.
var clock = monotonic
