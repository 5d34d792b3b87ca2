//go:build (amd64 || arm64) && gc && !purego

package kernel

// The assembly's options beside those of memberConstants.
const (
	memberScaled       = 1 << (8 + iota) // scale is not 1
	memberLROutside                      // lrOutside is not 1
	memberSoftwareRoot                   // s + eps cannot be below 2^-100: a root in software is exact
)

// memberOptions are the options that the assembly tests.
func memberOptions(k *memberConstants) uint32 {
	options := k.options
	if k.scale != 1 {
		options |= memberScaled
	}
	if k.lrOutside != 1 {
		options |= memberLROutside
	}
	if k.eps >= 0x1p-100 {
		options |= memberSoftwareRoot
	}
	return options
}
