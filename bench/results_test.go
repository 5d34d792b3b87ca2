package main

import (
	"bytes"
	"image/png"
	"io"
	"math"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/perf/benchfmt"
)

// example has two sizes of two traffic loops, two implementations and a peer.
func example() results {
	r := results{machine: []benchfmt.Config{{Key: "cpu", Value: []byte("Example CPU"), File: true}, {Key: "cores", Value: []byte("2"), File: true}}}
	for _, n := range []int{1 << 10, 64 << 20} {
		for i, by := range []string{"traffic, avx2, 1", "traffic, avx2, 2", "avx2", "generic", theCLoop + " gcc 12"} {
			ns := float64([]int{300, 200, 400, 800, 500}[i] * n / 1000)
			k := []kind{isLimit, isLimit, isKernel, isKernel, isPeer}[i]
			r.rows = append(r.rows, row{"Update", k, by, 20, n, "", 10, []float64{ns, ns + 10, ns, ns, ns, ns + 2}})
		}
	}
	return r
}

// What is written is in the format, down to every sample.
func TestWriteResults(t *testing.T) {
	r := example()
	r.rows[2].plan = "near"
	var text bytes.Buffer
	if err := r.write(&text, "a note"); err != nil {
		t.Fatal(err)
	}
	const start = "# a note\n# avx2 ran plan near at 1Ki elements\ncpu: Example CPU\ncores: 2\n\n" +
		"BenchmarkUpdate/kind=limit/by=traffic,_avx2,_1/n=1Ki 10 307 ns/op 66710 MB/s\n"
	if !strings.HasPrefix(text.String(), start) {
		t.Errorf("got:\n%s\nwant it to begin with:\n%s", &text, start)
	}
	var samples []float64
	for in := benchfmt.NewReader(&text, "text"); in.Scan(); {
		result, ok := in.Result().(*benchfmt.Result)
		if !ok {
			t.Fatal(in.Result())
		}
		if name := string(result.Name.Full()); name == "Update/kind=peer/by=c-o3_gcc_12/n=64Mi" {
			seconds, _ := result.Value("sec/op")
			bytes, _ := result.Value("B/s")
			if product := seconds * bytes / 20 / (64 << 20); result.Iters != 10 || product < 0.99 || product > 1.01 || result.GetConfig("cpu") != "Example CPU" {
				t.Errorf("%+v", result)
			}
			samples = append(samples, math.Round(1e9*seconds))
		}
	}
	if want := r.rows[9].samples; !slices.Equal(samples, want) {
		t.Errorf("samples %v, want %v", samples, want)
	}
}

// benchstat marks what has changed beyond noise, and in which direction; of another
// size, another peer or another machine it compares nothing.
func TestBenchstat(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip(err)
	}
	for name, test := range map[string]struct {
		change func(old, new *results)
		want   string // in the line of avx2 at 1Ki, after two times
	}{
		"same":         {func(old, new *results) {}, "~ (p=1.000 n=6)"},
		"slower":       {func(old, new *results) { scale(&new.rows[2], 1.5) }, "+50.12% (p=0.002 n=6)"},
		"faster":       {func(old, new *results) { scale(&old.rows[2], 1.25) }, "-19.96% (p=0.002 n=6)"},
		"by chance":    {func(old, new *results) { new.rows[2].samples = []float64{300, 600, 400, 500, 350, 450} }, "~ (p="},
		"another size": {func(old, new *results) { old.rows[2].n++ }, ""},
		"another name": {func(old, new *results) { old.rows[2].by = "avx2:near" }, ""},
		"another CPU":  {func(old, new *results) { old.machine[0].Value = []byte("Old CPU") }, ""},
	} {
		old, new := example(), example()
		test.change(&old, &new)
		dir := t.TempDir()
		for file, r := range map[string]results{"old": old, "new": new} {
			if err := writeFile(filepath.Join(dir, file), func(w io.Writer) error { return r.write(w) }); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.Command("go", "tool", "benchstat", filepath.Join(dir, "old"), filepath.Join(dir, "new")).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		compared := regexp.MustCompile(`(?m)^Update/kind=kernel/by=avx2/n=1Ki +\S+ ± +\d+% +\S+ ± +\d+% +(.*)$`).FindSubmatch(out)
		if (compared != nil) != (test.want != "") || compared != nil && !strings.HasPrefix(string(compared[1]), test.want) {
			t.Errorf("%s: %q, want %q in:\n%s", name, compared, test.want, out)
		}
	}
}

func scale(r *row, by float64) {
	for i := range r.samples {
		r.samples[i] *= by
	}
}

// Of the traffic loops the fastest is the limit, and one for each traffic.
func TestTables(t *testing.T) {
	var out strings.Builder
	rows := example().rows
	rows[3].plan = "near"
	writeSize(&out, rows[:5])
	writeRatios(&out, rows)
	if want := `
Update, 1Ki elements, 4 KiB an array
                  ns/1000  median  upper  bytes  GB/s  plan
traffic, avx2, 2      199     199    202     20   100
avx2                  399     399    402     20  50.1
generic               800     800    802     20    25  near
c-o3 gcc 12           500     500    503     20    40

Time over that of the fastest bare traffic loop: lower quartiles (medians)
                    1Ki         64Mi
avx2        2.00 (2.00)  2.00 (2.00)
generic     4.01 (4.01)  4.00 (4.00)
c-o3 gcc 12  2.51 (2.51)  2.50 (2.50)

Time over that of the C loop (gcc -O3, no input rules): lower quartiles (medians)
                 1Ki         64Mi
avx2     0.80 (0.80)  0.80 (0.80)
generic  1.60 (1.60)  1.60 (1.60)

Time over that of kernel's fastest: lower quartiles (medians)
                    1Ki         64Mi
c-o3 gcc 12  1.25 (1.25)  1.25 (1.25)
`; strings.ReplaceAll(out.String(), " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("got:\n%s\nwant:\n%s", &out, want)
	}

	// Other bases, each among those that it is for.
	as := func(bench, by string, traffic int, ns float64) row {
		return row{bench, isKernel, by, traffic, 1000, "", 1, []float64{ns}}
	}
	limit := as("Family", "traffic, avx2, 1", 28, 100)
	limit.kind = isLimit
	for _, other := range []row{{traffic: 20, n: 1000, bench: "Family"}, {traffic: 28, n: 100, bench: "Family"}, {traffic: 28, n: 1000, bench: "Step"}} {
		other.kind, other.by, other.samples = isLimit, "traffic, avx2, 2", []float64{1}
		if list := limits([]row{limit, other}); len(list) != 2 {
			t.Errorf("one limit for %+v and %+v", limit, other)
		}
	}
	out.Reset()
	writeRatios(&out, []row{
		as("Update", "avx2", 20, 300), as("Update", "avx2:near", 20, 200), as("Update", "avx2:far", 20, 100), as("Update", "generic", 20, 900),
		limit, as("Family", "avx2, Update", 20, 100), as("Family", "avx2, momentum", 28, 150), as("Family", "generic, momentum", 28, 900),
		as("Step", "avx2, workers 1", 20, 100), as("Step", "avx2, workers 2", 20, 50),
	})
	for _, want := range []string{
		"bare traffic loop: lower quartiles (medians)\n                          1000\navx2, momentum     1.50 (1.50)\ngeneric, momentum  9.00 (9.00)\n\n",
		"the best plan: lower quartiles (medians)\n             1000\navx2  3.00 (3.00)\n\n",
		"Update: lower quartiles (medians)\n                       1000\navx2, momentum  1.50 (1.50)\n\n",
		"one worker: lower quartiles (medians)\n                        1000\navx2, workers 2  0.50 (0.50)\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
}

func TestPictures(t *testing.T) {
	var out bytes.Buffer
	if err := drawPicture(&out, "svg", example()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Example CPU<", ">" + theLimit + "<", ">avx2<", ">generic<", ">c-o3 gcc 12<", ">1Ki<", ">12 KiB<", ">64Mi<", ">768 MiB<", ">32<", ">64<"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in the picture", want)
		}
	}
	r := example()
	r.rows = r.rows[1:4] // one size is enough
	out.Reset()
	if err := drawPicture(&out, "png", r); err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(&out)
	if err != nil {
		t.Fatal(err)
	}
	missing := slices.Clone(colors[1:3]) // of the two implementations
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
		t.Errorf("no pixel has the colors %v", missing)
	}
	var sizes []row
	for shift := range 17 {
		sizes = append(sizes, row{n: 1 << shift}, row{n: 1 << shift})
	}
	if ticks := sizeTicks(sizes); len(ticks) != 17 || ticks[0].Label != "1\n12 bytes" || ticks[1].Label != "" || ticks[16].Label != "64Ki\n768 KiB" {
		t.Errorf("ticks %v", ticks)
	}
}

func TestFormat(t *testing.T) {
	for list, want := range map[string][]int{"1000, 1Ki,32Ki,64Mi": {1000, 1 << 10, 32 << 10, 64 << 20}, "1Gi": {1 << 30}} {
		if got, err := parseSizes(list); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", list, got, err, want)
		}
	}
	for _, wrong := range []string{"", "1Ki,", "0", "-5", "1k", "Ki", "1.5Mi", "9999999999Gi"} {
		if got, err := parseSizes(wrong); err == nil {
			t.Errorf("%q is taken for %v", wrong, got)
		}
	}
	for n, want := range map[int]string{12: "12 12 bytes", 1536: "1536 1.5 KiB", 12 << 10: "12Ki 12 KiB", 768 << 20: "768Mi 768 MiB", 3 << 30: "3Gi 3 GiB"} {
		if got := formatCount(n) + " " + formatBytes(n); got != want {
			t.Errorf("%d is written as %q, want %q", n, got, want)
		}
	}
	sizes := []int{1 << 10, 1 << 20, 64 << 20}
	for _, test := range []struct{ arrays, memory, want int }{{3, 16 << 30, 3}, {3, 1 << 30, 2}, {3, 13 << 10, 0}, {3, 0, 3}, {3, 9 << 27, 3}, {4, 9 << 27, 2}} {
		if got := fitting(sizes, test.arrays, test.memory); len(got) != test.want {
			t.Errorf("%d arrays in %d bytes: %v, want %d sizes", test.arrays, test.memory, got, test.want)
		}
	}
}
