package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const example = `cpu: Example & Sons

BenchmarkUpdate/kind=kernel/by=default/n=1Mi 100 500000 ns/op
BenchmarkUpdate/kind=kernel/by=default/n=1Mi 100 500000 ns/op
BenchmarkUpdate/kind=kernel/by=default/n=1Mi 100 900000 ns/op
BenchmarkUpdate/kind=kernel/by=default/n=1Mi 100 600000 ns/op
BenchmarkUpdate/kind=kernel/by=default/n=1Mi 100 500000 ns/op
BenchmarkUpdate/kind=kernel/by=avx2/n=1Mi 100 100000 ns/op
BenchmarkUpdate/kind=peer/by=c-o3_gcc_12.2/n=1Mi 100 250000 ns/op
BenchmarkStep/gomlx 100 7000000 ns/op
BenchmarkStep/gradients 100 1000000 ns/op
BenchmarkStep/float32/gorgonia 100 5000000 ns/op
`

func draw(t *testing.T, text string) (string, error) {
	path := filepath.Join(t.TempDir(), "results.txt")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	m, err := read([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	picture, err := m.draw()
	return string(picture), err
}

// Bars are as long as their lower quartiles, the slowest first.
func TestDraw(t *testing.T) {
	picture, err := draw(t, example)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Example &amp; Sons",
		`width="400" height="18" rx="2"/><text class="other" x="598" y="78">6.00 ms (12x)<`,
		`width="333" height="18" rx="2"/><text class="other" x="531" y="104">5.00 ms (10x)<`,
		`width="33" height="18" rx="2"/><text class="ours" x="231" y="130">0.50 ms<`,
		`width="17" height="18" rx="2"/><text class="other" x="215" y="156">0.25 ms<`,
	} {
		if _, rest, ok := strings.Cut(picture, want); !ok {
			t.Errorf("no %s in order in\n%s", want, picture)
		} else {
			picture = rest
		}
	}
	if strings.Contains(picture, "<rect") {
		t.Errorf("more bars: %s", picture)
	}
}

func TestDrawIsXML(t *testing.T) {
	picture, err := draw(t, example)
	for d := xml.NewDecoder(strings.NewReader(picture)); err == nil; {
		_, err = d.Token()
	}
	if !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// Without a measurement of kernel there is nothing to compare with.
func TestDrawWithoutKernel(t *testing.T) {
	if _, err := draw(t, strings.ReplaceAll(example, "default", "avx512")); err == nil {
		t.Error("no error")
	}
}
