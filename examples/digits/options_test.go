package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/seed57504d97/kernel"
)

// The hashes of the weights that the images of pictures end in, on every
// machine, with a network that is large enough for several workers. Those of
// update and keras are one: Update does what Keras does.
var optimizerHashes = []struct{ args, hash string }{
	{"-optimizer update", "2fc25fa6374136ecede6f3c63a96ab3f4e70ce4f761d227fa20148a27493eb65"},
	{"-optimizer keras", "2fc25fa6374136ecede6f3c63a96ab3f4e70ce4f761d227fa20148a27493eb65"},
	{"-optimizer pytorch", "d25793205a295c3d1f63bcd776b2929484749f32e7ed70b4c3c43485acffcacd"},
	{"-optimizer tensorflow", "736a71e1878a412c5d4fc0ab4e688923b2bd99e5639ea87278d7ff11dea31073"},
	{"-optimizer optax", "e4b4698da5a6489b11003f0c1837c66590a0f2a4d0ce81122a4920e7c8b7f433"},
	{"-optimizer keras -momentum 0.9", "47bde480e74564af7af547cf3a27a214124c973980d28c4ae59787d4fc8fdd16"},
	{"-optimizer pytorch -momentum 0.9 -centered", "c890757febf61418ad08abc14822b0d2e10d1aa04ee7a6c7e02b76c4f3a64b41"},
	{"-optimizer gorgonia", "9e3854d514f7ea52e4784208242879c11303f6ed7852a3a815f3d139e3778f85"},
	{"-optimizer gomlx", "fa1691c680a5d1cc0b24bc843ffe9d4b825847dc4a519db4796169aa907117a3"},
	{"-optimizer optax -centered", "88259ae42c683cbbff6611d99efbc4bfa8817f1ec709a190b7fdad3b4657c739"},
}

func TestOptimizers(t *testing.T) {
	dir := write(t, pictures())
	before := kernel.ISA()
	defer kernel.SetISA(before)
	for _, isa := range kernel.ISAs() {
		t.Run(isa, func(t *testing.T) {
			if err := kernel.SetISA(isa); err != nil {
				t.Fatal(err)
			}
			for _, test := range optimizerHashes {
				args := append(strings.Fields(test.args), "-data", dir, "-hidden", "400", "-batch", "20", "-epochs", "1")
				for _, n := range []string{"1", "2", "5"} {
					if got := mustRun(t, append(args, "-workers", n)...).hash; got != test.hash {
						t.Errorf("%s -workers %s: hash %s, want %s", test.args, n, got, test.hash)
					}
				}
			}
		})
	}
}

// A loss scale that is a power of two changes no bit, also beside a clipped norm; a
// norm that nothing reaches does not either, one that is reached does.
func TestLossScaleAndClip(t *testing.T) {
	clipped := mustRun(t, "-epochs", "3", "-clip", "0.5").hash
	if clipped == hashAfter3 {
		t.Error("-clip 0.5 changes nothing")
	}
	for _, test := range []struct{ args, want string }{
		{"-loss-scale 1024", hashAfter3}, {"-loss-scale 0.125", hashAfter3}, {"-clip 1e9", hashAfter3}, {"-workers 3", hashAfter3},
		{"-clip 0.5 -loss-scale 4096", clipped}, {"-clip 0.5 -workers 2", clipped},
	} {
		if got := mustRun(t, append(strings.Fields(test.args), "-epochs", "3")...).hash; got != test.want {
			t.Errorf("%s: hash %s, want %s", test.args, got, test.want)
		}
	}
}

// A gradient that the scale makes overflow is left out, and said to be.
func TestSkipped(t *testing.T) {
	var stdout, stderr strings.Builder
	args := []string{"-epochs", "2", "-batch", "1", "-loss-scale", "1e38"}
	if status := run(args, &stdout, &stderr); status != 1 || stderr.String() != "digits: -loss-scale 1e+38: must be a number in [2^-126, 2^126], or 0 for none\n" {
		t.Errorf("%q: status %d, stderr %q", args, status, stderr.String())
	}
	args[len(args)-1] = "8e37"
	stdout.Reset()
	if status := run(args, &stdout, &stderr); status != 0 {
		t.Fatal(stderr.String())
	}
	if !regexp.MustCompile(`\nbatch 1, .*; loss scale 8e\+37\nepoch 1  .*  in Step \S+  skipped [1-9]\d*\n`).MatchString(stdout.String()) {
		t.Errorf("printed\n%s", stdout.String())
	}
}

func TestPresetDefaults(t *testing.T) {
	if testing.Short() {
		t.Skip("30 epochs each")
	}
	for name, preset := range presets {
		t.Run(name, func(t *testing.T) {
			least := 96.0
			if name == "gorgonia" { // whose mean starts at zero, takes 1,000 steps to grow, and is not corrected
				least = 95
			}
			if got := mustRun(t, "-optimizer", name); got.accuracy <= least {
				t.Errorf("accuracy %.2f%%, want more than %v%%", got.accuracy, least)
			}
			var stdout, stderr strings.Builder
			run([]string{"-optimizer", name, "-hidden", "1", "-epochs", "1", "-eps", "0.125"}, &stdout, &stderr)
			want := fmt.Sprintf("\nbatch 32, lr 0.01 falling to 0, rho %v, eps 0.125, seed 1", preset().Rho)
			if name != "update" {
				want += "; " + name + ", momentum 0, centered false"
			}
			if !strings.Contains(stdout.String(), want+"\n") {
				t.Errorf("printed\n%s%s\nwant the line %s", stdout.String(), stderr.String(), want)
			}
		})
	}
}

func TestFlagErrors(t *testing.T) {
	for _, test := range []struct{ args, message string }{
		{"-epochs 0", "-epochs 0: must be 1 or more"},
		{"-batch -3", "-batch -3: must be 1 or more"},
		{"-hidden 0", "-hidden 0: must be 1 to 1024"},
		{"-hidden 100000", "-hidden 100000: must be 1 to 1024"},
		{"-lr -0.1", "-lr -0.1: must be a number in [0, 2^64]"},
		{"-lr NaN", "-lr NaN: must be a number in [0, 2^64]"},
		{"-rho 1.5", "-rho 1.5: must be a number in [0, 1]"},
		{"-rho 0 -eps 0", "-rho 0, -eps 0: one must be above 0: without both, a step is lr in the direction of the gradient's sign"},
		{"-eps 1e39", "-eps 1e+39: must be a number that is finite in float32 and not negative"},
		{"-optimizer lion", "-optimizer lion: must be one of adam, adamw, gomlx, gorgonia, keras, optax, pytorch, tensorflow, update"},
		{"-momentum 0.9", "-momentum 0.9: needs another -optimizer than update"},
		{"-centered", "-centered: needs another -optimizer than update"},
		{"-optimizer adam -momentum 0.9", "-momentum 0.9: needs another -optimizer than adam"},
		{"-optimizer adamw -centered", "-centered: needs another -optimizer than adamw"},
		{"-clip -1", "-clip -1: must be 0 or more"},
		{"-clip NaN", "-clip NaN: must be 0 or more"},
		{"-loss-scale -8", "-loss-scale -8: must be a number in [2^-126, 2^126], or 0 for none"},
		{"-optimizer keras -workers -1", "-workers -1: must be 0 or more"},
		{"-optimizer optax -momentum 1", "-momentum 1: must be a number in [0, 1), also in float32"},
		{"-optimizer pytorch -lr -1 -rho 2", "-lr -1: must be a number in [0, 2^64]; -rho 2: must be a number in [0, 1]"},
	} {
		mustEnd(t, 1, test.message, strings.Fields(test.args)...)
	}
	mustEnd(t, 2, "", "-epochs", "many")
	mustEnd(t, 2, "", "-speed")
	mustEnd(t, 2, `unexpected argument "fast"`, "fast")
	mustEnd(t, 0, "", "-help")
}
