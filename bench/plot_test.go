package main

import (
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestPNG(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plot.png")
	if err := writePicture(file, "png", example()); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	picture, err := png.Decode(in)
	if err != nil {
		t.Fatal(err)
	}
	// Each runner's color is in it, the peer's in the legend at least.
	missing := slices.Clone(colors[1:4])
	for y := range picture.Bounds().Dy() {
		for x := range picture.Bounds().Dx() {
			r, g, b, _ := picture.At(x, y).RGBA()
			for i, c := range missing {
				if cr, cg, cb, _ := c.RGBA(); r == cr && g == cg && b == cb {
					missing = slices.Delete(missing, i, i+1)
					break
				}
			}
		}
	}
	if len(missing) > 0 {
		t.Errorf("%v: no pixel has the color of %d of the lines", picture.Bounds(), len(missing))
	}
}

func TestSVG(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plot.svg")
	if err := writePicture(file, "svg", example()); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	texts := map[string]bool{}
	for decoder := xml.NewDecoder(in); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if text, ok := token.(xml.CharData); ok {
			texts[string(text)] = true
		}
	}
	for _, want := range []string{"traffic, avx2", "avx2", "generic", "numpy", "1Ki", "12 KiB", "64Mi", "768 MiB", "50", "100"} {
		if !texts[want] {
			t.Errorf("no text %q", want)
		}
	}
}

// One size, and one runner, are enough for a picture.
func TestSmallestPicture(t *testing.T) {
	r := example()
	r.Rows = r.Rows[:1]
	if err := writePicture(filepath.Join(t.TempDir(), "plot.svg"), "svg", r); err != nil {
		t.Fatal(err)
	}
}

func TestTicks(t *testing.T) {
	var rows sizeTicks
	for shift := range 17 {
		rows = append(rows, row{Elements: 1 << shift}, row{Elements: 1 << shift})
	}
	ticks := rows.Ticks(0, 0)
	labels := 0
	for _, tick := range ticks {
		if tick.Label != "" {
			labels++
		}
	}
	if len(ticks) != 17 || labels != 9 || ticks[0].Label != "1\n12 bytes" || ticks[16].Label != "64Ki\n768 KiB" {
		t.Errorf("%d ticks, %d labels, want 17 and 9: %v", len(ticks), labels, ticks)
	}
	var throughputs []string
	for _, tick := range (throughputTicks{}).Ticks(math.Log2(0.7), math.Log2(210)) {
		throughputs = append(throughputs, tick.Label)
	}
	if want := []string{"1", "2", "5", "10", "20", "50", "100", "200"}; !slices.Equal(throughputs, want) {
		t.Errorf("ticks %v, want %v", throughputs, want)
	}
}
