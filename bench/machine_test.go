package main

import (
	"slices"
	"testing"
)

func TestParseSizes(t *testing.T) {
	got, err := parseSizes("1000, 1Ki,32Ki,64Mi")
	want := []int{1000, 1 << 10, 32 << 10, 64 << 20}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if text := formatSizes(want); text != "1000,1Ki,32Ki,64Mi" {
		t.Errorf("written as %s", text)
	}
	for _, wrong := range []string{"", "1Ki,", "0", "-5", "1k", "Ki", "1.5Mi", "9999999999Gi"} {
		if got, err := parseSizes(wrong); err == nil {
			t.Errorf("%q is taken for %v", wrong, got)
		}
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[uint64]string{12: "12 bytes", 12 << 10: "12 KiB", 1536: "1.5 KiB", 36608 << 10: "35.8 MiB", 768 << 20: "768 MiB", 3 << 30: "3 GiB"} {
		if got := formatBytes(n); got != want {
			t.Errorf("formatBytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestFitting(t *testing.T) {
	sizes := []int{1 << 10, 1 << 20, 64 << 20}
	for _, test := range []struct {
		sets   int
		memory uint64
		want   []int
	}{
		{1, 16 << 30, sizes},
		{1, 1 << 30, []int{1 << 10, 1 << 20, 32 << 20}}, // 384 MiB
		{10, 1 << 30, []int{1 << 10, 1 << 20, 4 << 20}}, // 480 MiB
		{1, 13 << 10, []int{1 << 9}},                    // 6 KiB
		{1, 0, []int{1}},
	} {
		if got := fitting(sizes, test.sets, test.memory); !slices.Equal(got, test.want) {
			t.Errorf("fitting(%d sets, %d bytes) = %v, want %v", test.sets, test.memory, got, test.want)
		}
	}
}
