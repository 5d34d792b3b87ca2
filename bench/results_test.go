package main

import (
	"bytes"
	"os"
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
	r := results{mode: "Update", sizes: []int{1 << 10, 64 << 20},
		machine: []benchfmt.Config{{Key: "cpu", Value: []byte("Example CPU"), File: true}}}
	for i, n := range r.sizes {
		add := func(k kind, by string, per1000 ...float64) { // at each size
			ns := per1000[i] * float64(n) / 1000
			r.rows = append(r.rows, row{k, by, 20, n, "", 10, []float64{ns, ns + 40, ns + 20, ns, ns + 20, ns + 40}})
		}
		add(isLimit, "traffic, avx2", 300, 400)
		add(isLimit, "traffic, avx2, 256 ahead", 200, 600)
		add(isKernel, "avx2", 400, 800)
		add(isKernel, "generic", 800, 1200)
		add(isPeer, theCLoop+" gcc 12", 500, 1000)
	}
	return r
}

// The file is in the format and has every sample.
func TestWriteResults(t *testing.T) {
	r := example()
	r.rows = []row{r.rows[2], r.rows[4]}
	r.rows[0].plan = "near"
	r.rows[0].samples, r.rows[1].samples = []float64{512, 1024}, []float64{2048.4}
	text := string(r.text("a note"))
	if want := `# a note
# avx2 ran plan near at 1Ki elements
cpu: Example CPU

BenchmarkUpdate/kind=kernel/by=avx2/n=1Ki 10 512 ns/op 40000 MB/s
BenchmarkUpdate/kind=kernel/by=avx2/n=1Ki 10 1024 ns/op 20000 MB/s
BenchmarkUpdate/kind=peer/by=c-o3_gcc_12/n=1Ki 10 2048 ns/op 9998 MB/s
`; text != want {
		t.Errorf("got:\n%s\nwant:\n%s", text, want)
	}
}

// benchstat reports what changed beyond noise, and in which direction. It compares nothing of
// different sizes, names or machines.
func TestBenchstat(t *testing.T) {
	line := regexp.MustCompile(`(?m)^Update/kind=kernel/by=avx2/n=1Ki +\S+ ± +\d+% +\S+ ± +\d+% +(.*) n=6\)$`)
	for name, test := range map[string]struct {
		change func(old *results)
		want   string // in the line of avx2 at 1Ki, after two times; none: there is no such line
	}{
		"same":         {func(old *results) {}, "~ (p=1.000"},
		"slower":       {func(old *results) { old.rows[2].samples = old.rows[1].samples }, "+91.11% (p=0.002"},
		"faster":       {func(old *results) { old.rows[2].samples = old.rows[3].samples }, "-48.75% (p=0.002"},
		"by chance":    {func(old *results) { copy(old.rows[2].samples, []float64{300, 600, 500, 350}) }, "~ (p="},
		"another size": {func(old *results) { old.rows[2].n++ }, ""},
		"another name": {func(old *results) { old.rows[2].by = "avx2/near" }, ""},
		"another CPU":  {func(old *results) { old.machine[0].Value = []byte("Old CPU") }, ""},
	} {
		old, dir := example(), t.TempDir()
		test.change(&old)
		for file, r := range map[string]results{"old": old, "new": example()} {
			if err := os.WriteFile(filepath.Join(dir, file), r.text(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("go", "tool", "benchstat", filepath.Join(dir, "old"), filepath.Join(dir, "new"))
		out, err := cmd.CombinedOutput()
		compared := line.FindSubmatch(out)
		if err != nil || (compared != nil) != (test.want != "") ||
			compared != nil && !strings.HasPrefix(string(compared[1]), test.want) {
			t.Errorf("%s: %v, %q, want %q in:\n%s", name, err, compared, test.want, out)
		}
	}
}

// The files in results are in the format.
func TestCommittedResults(t *testing.T) {
	name := regexp.MustCompile(`^Update/kind=(limit|kernel|peer)/by=\S+/n=\d+(Ki|Mi)?$|^Step/`)
	files := benchfmt.Files{Paths: []string{"results/epyc-zen4.txt", "results/epyc-zen4-plans.txt", "results/epyc-zen4-peers.txt", "results/step-zen4.txt", "results/xeon-cascade-lake.txt"}}
	found := map[string]int{}
	for files.Scan() {
		r, ok := files.Result().(*benchfmt.Result)
		if !ok || !name.Match(r.Name.Full()) || len(r.Values) < 2 {
			t.Fatal(files.Result())
		}
		found[r.GetConfig("cpu")]++
	}
	if files.Err() != nil || len(found) != 2 || found[""] > 0 {
		t.Errorf("%v, %v", files.Err(), found)
	}
}

// The fastest traffic loop is the limit, and each comparison uses its own base.
func TestTables(t *testing.T) {
	var out strings.Builder
	r := example()
	r.rows[3].plan = "near"
	r.writeSize(&out, 1<<10)
	r.writeRatios(&out)
	want := `
Update, 1Ki elements, 4 KiB an array
  ns/1000  median  upper  bytes   GB/s  plan
    200.0   219.5  239.1     20  100.0        traffic, avx2, 256 ahead
    400.0   419.5  439.1     20   50.0        avx2
    800.0   819.5  839.1     20   25.0  near  generic
    500.0   519.5  539.1     20   40.0        c-o3 gcc 12

Time over that of the fastest bare traffic loop: lower quartiles (medians)
          1Ki         64Mi
  2.00 (1.91)  2.00 (2.00)  avx2
  4.00 (3.73)  3.00 (3.00)  generic
  2.50 (2.37)  2.50 (2.50)  c-o3 gcc 12

Time over that of the C loop (-O3, without the rules for tiny inputs): lower quartiles (medians)
          1Ki         64Mi
  0.80 (0.81)  0.80 (0.80)  avx2
  1.60 (1.58)  1.20 (1.20)  generic

Time over that of kernel's fastest: lower quartiles (medians)
          1Ki         64Mi
  1.25 (1.24)  1.25 (1.25)  c-o3 gcc 12
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", &out, want)
	}

	as := func(k kind, by string, traffic int, ns float64) row {
		return row{k, by, traffic, 1000, "", 1, []float64{ns}}
	}
	for want, rows := range map[string][]row{
		"the best plan: lower quartiles (medians)\n         1000\n  3.00 (3.00)  avx2\n": {as(isKernel, "generic", 20, 900),
			as(isKernel, "avx2", 20, 300), as(isKernel, "avx2/near", 20, 200), as(isKernel, "avx2/far", 20, 100)},
		"the fastest bare traffic loop: lower quartiles (medians)\n         1000\n  3.00 (3.00)  avx2, momentum\n": {
			as(isLimit, "traffic, avx2", 20, 10), as(isLimit, "traffic, avx2, 4 arrays", 28, 50),
			as(isKernel, "avx2, momentum", 28, 150)},
		"Update: lower quartiles (medians)\n         1000\n  1.50 (1.50)  avx2, momentum\n": {
			as(isKernel, "generic, Update", 20, 50), as(isKernel, "avx2, Update", 20, 100),
			as(isKernel, "avx2, momentum", 28, 150)},
	} {
		out.Reset()
		results{sizes: []int{1000}, rows: rows}.writeRatios(&out)
		if got := out.String(); got != "\nTime over that of "+want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
		if len(limits(rows)) != len(rows) {
			t.Errorf("limits: %v", limits(rows))
		}
	}
}

func TestPicture(t *testing.T) {
	r := example()
	r.rows = append(r.rows, row{isKernel, "avx2/near", 20, 1 << 10, "near", 1, []float64{1}})
	picture, err := r.picture("svg")
	if err != nil {
		t.Fatal(err)
	}
	wantAll(t, string(picture), "Example CPU<", ">"+theLimit+"<", ">avx2<", ">generic<", ">c-o3 gcc 12<", ">1Ki<",
		">12 KiB<", ">64Mi<", ">768 MiB<", ">32<", ">64<", "stroke:#EE2E2F", "stroke:#008C48")
	if bytes.Contains(picture, []byte("near")) || bytes.Contains(picture, []byte("traffic, ")) {
		t.Error("a plan, or a traffic loop by its name, is in the picture")
	}
	ticks := sizeTicks([]int{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 64 << 10})
	if len(ticks) != 11 || ticks[0].Label != "1\n12 bytes" || ticks[1].Label != "" || ticks[10].Label != "64Ki\n768 KiB" {
		t.Errorf("ticks %v", ticks)
	}
}

func TestFormat(t *testing.T) {
	for list, want := range map[string][]int{
		"1000, 1Ki,32Ki,64Mi,1Ki": {1000, 1 << 10, 32 << 10, 64 << 20}, "1Gi": {1 << 30},
		"": nil, "1Ki,": nil, "0": nil, "-5": nil, "1k": nil, "Ki": nil, "1.5Mi": nil, "9999999999Gi": nil,
	} {
		if got, err := parseSizes(list); (err == nil) != (want != nil) || !slices.Equal(got, want) {
			t.Errorf("%q: got %v, %v, want %v", list, got, err, want)
		}
	}
	for n, want := range map[int]string{
		12: "12 12 bytes", 1536: "1536 1.5 KiB", 12 << 10: "12Ki 12 KiB", 768 << 20: "768Mi 768 MiB", 1 << 30: "1Gi 1 GiB",
	} {
		if got := formatCount(n) + " " + formatBytes(n); got != want {
			t.Errorf("%d is written as %q, want %q", n, got, want)
		}
	}
	three, enough := []int{1 << 10, 1 << 20, 64 << 20}, 3*64<<20*4/2*3 // bytes for all, with three arrays
	if all, two := fitting(three, 3, enough), fitting(three, 4, enough); len(all) != 3 || len(two) != 2 {
		t.Errorf("%v and %v fit", all, two)
	}
}
