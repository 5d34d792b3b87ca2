//go:build !goexperiment.simd || !amd64 || !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "archsimd: build it for linux/amd64 with GOEXPERIMENT=simd")
	os.Exit(1)
}
