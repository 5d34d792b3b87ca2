package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed57504d97/kernel"
)

func TestLayouts(t *testing.T) {
	var names []string
	var bytes []int
	for _, l := range layouts {
		names, bytes = append(names, l.String()), append(bytes, l.traffic())
		m, b := l.only([]float32{1}, []float32{2})
		if (m != nil) != l.m || (b != nil) != l.b {
			t.Errorf("%v: m %v, b %v", l, m, b)
		}
	}
	if want := []string{"plain", "momentum", "centered", "centered momentum"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	if want := []int{20, 28, 28, 36}; !slices.Equal(bytes, want) {
		t.Errorf("%d bytes, want %d", bytes, want)
	}
}

// Every layout is measured in every implementation, also with dead parameters,
// against a limit of its own.
func TestRunFamily(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.json")
	before := kernel.ISA()
	var stdout, stderr strings.Builder
	if status := run([]string{"-family", "-sizes", "16,100", "-time", "2ms", "-json", file}, &stdout, &stderr); status != 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	if kernel.ISA() != before {
		t.Errorf("%s is in use afterwards, not %s", kernel.ISA(), before)
	}
	r, err := readReport(file)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]row{}
	for _, row := range r.Rows {
		if row.Elements == 100 {
			seen[row.Name] = row
		}
	}
	traffic := "traffic, " + trafficLoops()[0].isa
	want := map[string]int{traffic: 20, traffic + ", 28 bytes": 28, traffic + ", 36 bytes": 36}
	for _, isa := range kernel.ISAs() {
		for label, bytes := range map[string]int{
			"": 20, ", scale and L2": 20, ", momentum": 28, ", centered": 28, ", centered momentum": 36,
		} {
			want[isa+label] = bytes
		}
		for _, l := range layouts {
			want[isa+", "+l.String()+", dead"], want[isa+", "+l.String()+", renewed"] = l.traffic(), l.traffic()
		}
	}
	for _, preset := range []string{"Keras", "PyTorch", "TensorFlow", "Optax"} {
		want[kernel.ISAs()[0]+", "+preset] = 20
	}
	if len(seen) != len(want) || len(r.Rows) != 2*len(want) {
		t.Errorf("%d rows, %d of 100 elements, want %d of each size", len(r.Rows), len(seen), len(want))
	}
	for name, bytes := range want {
		if seen[name].Traffic != bytes || !(seen[name].Median > 0) {
			t.Errorf("%s: %+v, want %d bytes an element", name, seen[name], bytes)
		}
	}

	stdout.Reset()
	if status := run([]string{"-family", "-sizes", "100", "-time", "1ms", "-baseline", file}, &stdout, &stderr); status != 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	if _, changes, _ := strings.Cut(stdout.String(), "now/then"); !strings.Contains(changes, "centered momentum, dead") {
		t.Errorf("no comparison in:\n%s", &stdout)
	}
}

func TestWriteFamily(t *testing.T) {
	as := func(name string, k kind, ns float64, traffic int) row {
		return row{Name: name, Kind: k, Elements: 1024, spread: spread{Median: ns, Q1: ns - 10, Q3: ns + 10}, Traffic: traffic}
	}
	var out strings.Builder
	writeFamily(&out, []row{
		as("traffic, avx2", isLimit, 100, 20),
		as("traffic, avx2, 28 bytes", isLimit, 140, 28),
		as("avx2", isKernel, 200, 20),
		as("avx2, plain, renewed", isKernel, 200, 20),
		as("avx2, plain, dead", isKernel, 210, 20),
		as("avx2, momentum", isKernel, 280, 28),
		as("avx2, momentum, renewed", isKernel, 280, 28),
		as("avx2, momentum, dead", isKernel, 252, 28),
		as("generic, momentum", isKernel, 2800, 28),
	})
	want := `
1Ki elements, 12 KiB to 20 KiB
                         bytes  ns/1000     quartiles  GB/s  of limit  time/Update  dead/renewed
traffic, avx2               20      100     90 to 110   200      100%
traffic, avx2, 28 bytes     28      140    130 to 150   200      100%
avx2                        20      200    190 to 210   100       50%         1.00
avx2, plain, renewed        20      200    190 to 210   100       50%         1.00
avx2, plain, dead           20      210    200 to 220  95.2       48%         1.05          1.05
avx2, momentum              28      280    270 to 290   100       50%         1.40
avx2, momentum, renewed     28      280    270 to 290   100       50%         1.40
avx2, momentum, dead        28      252    242 to 262   111       56%         1.26          0.90
generic, momentum           28     2800  2790 to 2810    10        5%
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", &out, want)
	}
}
