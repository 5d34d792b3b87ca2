//go:build !(goexperiment.simd && amd64)

package main

import "errors"

// openArchsimd: this program was not built with Go's own vectors.
func openArchsimd(w *workspace) (peer, string, error) {
	return nil, "", errors.New("it needs amd64 and GOEXPERIMENT=simd in the environment")
}
