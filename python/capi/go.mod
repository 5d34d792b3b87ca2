module github.com/seed57504d97/kernel/python/capi

go 1.24.0

require github.com/seed57504d97/kernel v0.2.0

require (
	github.com/klauspost/cpuid/v2 v2.4.2 // indirect
	golang.org/x/sys v0.41.0 // indirect
)
