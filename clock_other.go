//go:build !windows

package kernel

import "time"

var loaded = time.Now()

func monotonic() int64 { return int64(time.Since(loaded)) }
