//go:build !((linux || darwin) && (amd64 || arm64))

package main

import "errors"

// openC: nothing loads C code here.
func openC(more ...string) func(w *workspace) (peer, string, error) {
	return func(w *workspace) (peer, string, error) { return nil, "", errors.ErrUnsupported }
}
