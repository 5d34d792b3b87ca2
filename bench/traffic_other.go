//go:build !amd64 && !arm64

package main

var vectorLoops []trafficLoop // none
