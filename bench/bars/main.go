// Command bars draws how long one RMSProp step takes with each of several programs, from files in
// the Go benchmark format:
//
//	go run -C bench ./bars results/step-zen4.txt >bench/results/step-zen4.svg
//
// bars.sh measures such a file and draws it.
package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"html"
	"log"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/aclements/go-moremath/stats"
	"golang.org/x/perf/benchfmt"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("bars: ")
	if len(os.Args) < 2 {
		log.Fatal("usage: bars FILE...")
	}
	m, err := read(os.Args[1:])
	if err != nil {
		log.Fatal(err)
	}
	picture, err := m.draw()
	if err != nil {
		log.Fatal(err)
	}
	os.Stdout.Write(picture)
}

// A program is one way to take a step.
type program struct {
	label  string
	prefix string // of the benchmark's name
	less   string // the prefix of a benchmark whose time is subtracted, if any
	ours   bool
}

var programs = []program{
	{label: "kernel", prefix: "Update/kind=kernel/by=default/", ours: true},
	{label: "kernel, pure Go", prefix: "Update/kind=kernel/by=generic/", ours: true},
	{label: "C loop, gcc -O3", prefix: "Update/kind=peer/by=c-o3_"},
	{label: "Go loop", prefix: "Update/kind=peer/by=go-loop_"},
	{label: "Gorgonia", prefix: "Step/float32/gorgonia"},
	{label: "GoMLX, its Go backend", prefix: "Step/gomlx", less: "Step/gradients"},
	{label: "spago", prefix: "Update/kind=peer/by=spago_"},
	{label: "NumPy", prefix: "Update/kind=peer/by=numpy_"},
	{label: "PyTorch", prefix: "Update/kind=peer/by=torch_"},
	{label: "PyTorch, torch.compile", prefix: "Update/kind=peer/by=torch-compile_"},
	{label: "TensorFlow", prefix: "Update/kind=peer/by=tensorflow_"},
	{label: "JAX, optax", prefix: "Update/kind=peer/by=jax_"},
}

// measurements are the samples of each benchmark, in seconds for each step.
type measurements struct {
	cpu     string
	samples map[string][]float64
}

func read(paths []string) (measurements, error) {
	m := measurements{samples: map[string][]float64{}}
	files := benchfmt.Files{Paths: paths}
	for files.Scan() {
		result, ok := files.Result().(*benchfmt.Result)
		if !ok {
			continue // a line that is no result
		}
		for _, fact := range result.Config {
			if fact.Key == "cpu" {
				m.cpu = string(fact.Value)
			}
		}
		if seconds, ok := result.Value("sec/op"); ok {
			name := string(result.Name)
			m.samples[name] = append(m.samples[name], seconds)
		}
	}
	return m, files.Err()
}

// seconds returns the lower quartile of the benchmark whose name begins with prefix, and reports
// whether there is one.
func (m measurements) seconds(prefix string) (float64, bool) {
	for name, samples := range m.samples {
		if strings.HasPrefix(name, prefix) {
			return stats.Sample{Xs: samples}.Quantile(0.25), true
		}
	}
	return 0, false
}

type bar struct {
	program
	seconds float64
}

// bars returns the programs that were measured, the slowest first.
func (m measurements) bars() (list []bar) {
	for _, p := range programs {
		seconds, ok := m.seconds(p.prefix)
		if ok && p.less != "" {
			var less float64
			less, ok = m.seconds(p.less)
			seconds -= less
		}
		if ok {
			list = append(list, bar{p, seconds})
		}
	}
	slices.SortFunc(list, func(a, b bar) int { return cmp.Compare(b.seconds, a.seconds) })
	return list
}

// The picture's measures, in pixels.
const (
	width     = 760
	top       = 64
	row       = 26
	thickness = 18
	left      = 190 // where bars begin
	right     = 170 // room for the figures beside the longest bar
)

// The background has a color of its own in each mode, so that the text can be read on any page.
const style = `
	.page { fill: #ffffff } text { fill: #1f2328; font: 14px sans-serif }
	.title { font-size: 16px; font-weight: bold } .note { fill: #59636e; font-size: 12px }
	rect.other { fill: #8c959f } rect.ours { fill: #0969da } text.ours { fill: #0969da; font-weight: bold }
	@media (prefers-color-scheme: dark) {
		.page { fill: #0d1117 } text { fill: #f0f6fc } .note { fill: #9198a1 }
		rect.other { fill: #656c76 } rect.ours { fill: #4493f8 } text.ours { fill: #4493f8 }
	}
`

// draw returns the picture as SVG. The scale is linear from zero.
func (m measurements) draw() ([]byte, error) {
	list := m.bars()
	i := slices.IndexFunc(list, func(b bar) bool { return b.label == "kernel" })
	if i < 0 {
		return nil, errors.New("no measurement of kernel in these files")
	}
	own, longest := list[i].seconds, list[0].seconds
	height := top + row*len(list) + 10
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`,
		width, height, width, height)
	fmt.Fprintf(&out, "\n<title>Time of one RMSProp step on 1Mi float32 parameters</title>\n<style>%s</style>\n", style)
	fmt.Fprintf(&out, `<rect class="page" width="%d" height="%d" rx="6"/>`+"\n", width, height)
	fmt.Fprintln(&out, `<text class="title" x="16" y="26">One RMSProp step on 1Mi float32 parameters, one thread</text>`)
	fmt.Fprintf(&out, `<text class="note" x="16" y="46">%s. Shorter is better. In brackets: time relative to kernel.</text>`+"\n",
		html.EscapeString(m.cpu))
	for i, b := range list {
		class := "other"
		if b.ours {
			class = "ours"
		}
		y := top + row*i
		length := math.Round(b.seconds / longest * (width - left - right))
		fmt.Fprintf(&out, `<text class="%s" x="%d" y="%d" text-anchor="end">%s</text>`, class, left-8, y+14, html.EscapeString(b.label))
		fmt.Fprintf(&out, `<rect class="%s" x="%d" y="%d" width="%.0f" height="%d" rx="2"/>`, class, left, y, max(length, 1), thickness)
		fmt.Fprintf(&out, `<text class="%s" x="%.0f" y="%d">%s</text>`+"\n", class, left+length+8, y+14, figures(b.seconds, own))
	}
	fmt.Fprintln(&out, "</svg>")
	return out.Bytes(), nil
}

// figures returns a time, and how many times another one it is if it is longer.
func figures(seconds, own float64) string {
	text := fmt.Sprintf("%.2f ms", seconds*1e3)
	if seconds > own {
		text += fmt.Sprintf(" (%.2gx)", seconds/own)
	}
	return text
}
