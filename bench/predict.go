package main

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// How many cycles an element costs on CPUs that are not here: the main loop of
// each assembly kernel is taken out of a built binary and handed to llvm-mca,
// which simulates a core's pipelines with all data in the first cache.

// A loop is the instructions of one iteration, in the assembler's words.
type loop struct {
	body     []string
	elements int // that an iteration updates
}

// A platform has the loops of one architecture.
type platform struct {
	goarch, triple string
	loops          []loopSource
	cores          []string // as llvm-mca calls them
	root           string   // a vector's square root, to try the models with
}

type loopSource struct {
	name     string
	function string   // of the kernel
	text     string   // or the loop itself
	except   []string // cores that cannot run it
}

var platforms = []platform{{
	goarch: "amd64", triple: "x86_64",
	loops: []loopSource{
		{name: "avx512", function: "updateAVX512", except: []string{"znver3"}},
		{name: "avx2", function: "updateAVX2"},
	},
	cores: []string{"skylake-avx512", "icelake-server", "sapphirerapids", "znver3", "znver4"},
	root:  "vsqrtps %ymm0, %ymm1",
}, {
	goarch: "arm64", triple: "aarch64",
	loops: []loopSource{
		{name: "neon", function: "updateNEON"},
		{name: hardwareOnly, text: hardwareLoop},
	},
	cores: []string{"neoverse-n1", "neoverse-v1", "neoverse-v2", "apple-m1", "cortex-a55"},
	root:  "fsqrt v0.4s, v1.4s",
}}

const hardwareOnly = "hardware only"

// hardwareLoop is the least that the formula takes on NEON: no input rules, the
// root and the quotient straight from the divider.
const hardwareLoop = `
	ld1 { v1.4s }, [x1], #16
	ld1 { v2.4s }, [x2]
	ld1 { v0.4s }, [x0]
	fmul v2.4s, v17.4s, v2.4s
	fmul v4.4s, v1.4s, v1.4s
	fmul v4.4s, v18.4s, v4.4s
	fadd v2.4s, v2.4s, v4.4s
	fadd v5.4s, v2.4s, v19.4s
	fsqrt v5.4s, v5.4s
	fdiv v5.4s, v16.4s, v5.4s
	fmul v5.4s, v5.4s, v1.4s
	fsub v0.4s, v0.4s, v5.4s
	st1 { v2.4s }, [x2], #16
	st1 { v0.4s }, [x0], #16
	subs x3, x3, #4
	b.ge loop
`

// ---- From the binary ----

// An instruction of a disassembly.
type instruction struct {
	address uint64
	text    string
	target  uint64 // where a branch leads; 0 for other instructions
}

var (
	listed   = regexp.MustCompile(`(?m)^ *([0-9a-f]+):\s+(\S.*)$`)
	comment  = regexp.MustCompile(`\s+(# |//).*`)
	branch   = regexp.MustCompile(`^(?:j\w+|b|b\.\w+|cbn?z|tbn?z)\s(?:.*\s)?(0x([0-9a-f]+) <.*>)$`)
	always   = regexp.MustCompile(`^(?:jmp|b|ret|retq)\b(?:[^.]|$)`)
	vector   = regexp.MustCompile(`%[xyz]mm\d|\bv\d+\.|\bq\d`)
	x86Store = regexp.MustCompile(`^vmov\w+\s+%([xyz])mm\d+, [-0-9a-fx]*\(%(\w+)`)
	armStore = regexp.MustCompile(`^st(?:1\s+{ (.*) }|r\s+(q\d+)|p\s+(q\d+, q\d+)), \[(\w+)`)
)

// disassembly reads what llvm-objdump prints of a function.
func disassembly(out string) []instruction {
	var code []instruction
	for _, match := range listed.FindAllStringSubmatch(out, -1) {
		in := instruction{text: strings.TrimSpace(comment.ReplaceAllString(match[2], ""))}
		in.address, _ = strconv.ParseUint(match[1], 16, 64)
		if to := branch.FindStringSubmatch(in.text); to != nil {
			in.target, _ = strconv.ParseUint(to[2], 16, 64)
			in.text = strings.Replace(in.text, to[1], "loop", 1)
		}
		code = append(code, in)
	}
	return code
}

func (in instruction) back() bool { return in.target != 0 && in.target <= in.address }

// mainLoop finds, among the backward branches around no other one, that which
// repeats the most vector instructions. The branches forward out of it are
// taken rarely, for values that need another path, and are left out.
func mainLoop(code []instruction) (loop, error) {
	var body []instruction
	most := 0
	for end, in := range code {
		start := slices.IndexFunc(code, func(other instruction) bool { return other.address == in.target })
		if !in.back() || start < 0 || slices.ContainsFunc(code[start:end], instruction.back) {
			continue
		}
		vectors := 0
		for _, in := range code[start:end] {
			if vector.MatchString(in.text) {
				vectors++
			}
		}
		if vectors > most {
			most, body = vectors, code[start:end+1]
		}
	}
	if body == nil {
		return loop{}, errors.New("no loop of vector instructions found")
	}
	var l loop
	last := len(body) - 1
	for i, in := range body {
		if i < last && always.MatchString(in.text) {
			return loop{}, fmt.Errorf("the main loop is not in one piece: %q is in it", in.text)
		}
		if i == last || in.target == 0 {
			l.body = append(l.body, in.text)
		}
	}
	return l.counted()
}

// counted finds out how many elements an iteration updates: a quarter of the
// bytes that it stores to theta, and as many to s. What it stores on the stack
// does not count.
func (l loop) counted() (loop, error) {
	stored := map[string]int{} // bytes, by the register that points to them
	for _, text := range l.body {
		text = strings.TrimSpace(text)
		if match := x86Store.FindStringSubmatch(text); match != nil {
			stored[match[2]] += map[string]int{"x": 16, "y": 32, "z": 64}[match[1]]
		}
		if match := armStore.FindStringSubmatch(text); match != nil {
			registers := match[1] + match[2] + match[3]
			stored[match[4]] += 16 * (1 + strings.Count(registers, ","))
		}
	}
	delete(stored, "rsp")
	delete(stored, "sp")
	var bytes []int
	for _, n := range stored {
		bytes = append(bytes, n)
	}
	if len(bytes) != 2 || bytes[0] != bytes[1] {
		return loop{}, fmt.Errorf("the main loop does not store as much to theta as to s: %v bytes", stored)
	}
	l.elements = bytes[0] / 4
	return l, nil
}

// ---- llvm ----

// llvm is the two programs, of one version: a disassembler may print what an
// older assembler does not know.
type llvm struct{ mca, objdump string }

// findLLVM prefers the newest, which knows the most cores, to the unnumbered.
func findLLVM() (llvm, error) {
	const newest, oldest = 40, 15
	for version := newest; version >= oldest-1; version-- {
		suffix := fmt.Sprint("-", version)
		if version < oldest {
			suffix = ""
		}
		mca, err1 := exec.LookPath("llvm-mca" + suffix)
		objdump, err2 := exec.LookPath("llvm-objdump" + suffix)
		if err1 == nil && err2 == nil {
			return llvm{mca, objdump}, nil
		}
	}
	return llvm{}, errors.New("llvm-mca and llvm-objdump are not installed")
}

// loopOf takes a main loop out of a binary with the kernel in it, unless it is
// there in words.
func (l llvm) loopOf(binary string, source loopSource) (loop, error) {
	if source.text != "" {
		return loop{body: strings.Split(strings.TrimSpace(source.text), "\n")}.counted()
	}
	symbol := modulePath + "." + source.function + ".abi0" // as Go names what is in assembly
	out, err := exec.Command(l.objdump, "-d", "--no-show-raw-insn", "--disassemble-symbols="+symbol, binary).Output()
	if err != nil {
		return loop{}, withStderr(err)
	}
	return mainLoop(disassembly(string(out)))
}

var (
	totalCycles = regexp.MustCompile(`(?m)^Total Cycles: +(\d+)$`)
	postIndexed = regexp.MustCompile(`^(.*\[(x\d+)\]), (#\w+)$`)
)

// simulate returns how many cycles one of many iterations takes. llvm-mca lets
// a store with a post-index move its pointer only once the data is there, and
// so the next iteration's load wait for this one's result; real cores move it at
// once. Hence the moving is an instruction of its own here.
func (l llvm) simulate(triple, core string, body []string) (float64, error) {
	const iterations = 1000
	cmd := exec.Command(l.mca, "-mtriple="+triple, "-mcpu="+core, fmt.Sprint("-iterations=", iterations))
	text := "loop:\n"
	for _, line := range body {
		text += postIndexed.ReplaceAllString(line, "$1\nadd $2, $2, $3") + "\n"
	}
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		return 0, withStderr(err)
	}
	match := totalCycles.FindSubmatch(out)
	if match == nil {
		return 0, fmt.Errorf("%s prints no total cycles", l.mca)
	}
	total, err := strconv.ParseFloat(string(match[1]), 64)
	return total / iterations, err
}

// ---- The tables ----

// A prediction is how many cycles an element takes in a loop on a core.
type prediction struct {
	Loop   string  `json:"loop"`
	Core   string  `json:"core"`
	Cycles float64 `json:"cycles"`
	// Doubtful: LLVM's model of the core begins a square root of a vector in
	// every cycle, as if the divider were free at once. No such core does.
	Doubtful bool `json:"doubtful,omitempty"`
}

// predict prints a table for each platform.
func predict(w io.Writer, builds builder, warn warnFunc) ([]prediction, error) {
	tools, err := findLLVM()
	if err != nil {
		return nil, err
	}
	var all []prediction
	for _, p := range platforms {
		binary, err := builds.build("linux", p.goarch)
		if err != nil {
			return all, err
		}
		fmt.Fprintf(w, "\n%s: cycles an element in the main loop, as %s predicts\n", p.goarch, filepath.Base(tools.mca))
		loops := map[string]loop{}
		for _, source := range p.loops {
			l, err := tools.loopOf(binary, source)
			if err != nil {
				warn("%s is left out: %v", source.name, err)
				continue
			}
			loops[source.name] = l
			fmt.Fprintf(w, "%s: %d elements in %d instructions\n", source.name, l.elements, len(l.body))
		}
		predictions := tools.predictions(p, loops, warn)
		writePredictions(w, p, predictions)
		all = append(all, predictions...)
	}
	return all, nil
}

func (l llvm) predictions(p platform, loops map[string]loop, warn warnFunc) []prediction {
	var list []prediction
	for _, core := range p.cores {
		root, err := l.simulate(p.triple, core, []string{p.root})
		for _, source := range p.loops {
			main, found := loops[source.name]
			if err != nil || !found || slices.Contains(source.except, core) {
				continue
			}
			var cycles float64
			cycles, err = l.simulate(p.triple, core, main.body)
			list = append(list, prediction{source.name, core, cycles / float64(main.elements), root < 1.5})
		}
		if err != nil {
			warn("%s is left out: %v", core, err)
		}
	}
	return list
}

func writePredictions(w io.Writer, p platform, predictions []prediction) {
	find := func(loop, core string) *prediction {
		i := slices.IndexFunc(predictions, func(c prediction) bool { return c.Loop == loop && c.Core == core })
		if i < 0 {
			return nil
		}
		return &predictions[i]
	}
	head := []string{""}
	for _, source := range p.loops {
		head = append(head, source.name)
	}
	if p.goarch == "arm64" {
		head = append(head, "ratio")
	}
	t := table{head}
	doubtful := false
	for _, core := range p.cores {
		cells := []string{core}
		for _, source := range p.loops {
			cell := ""
			if c := find(source.name, core); c != nil {
				cell = fmt.Sprintf("%.2f", c.Cycles)
				if c.Doubtful {
					cell, doubtful = cell+"?", true
				}
			}
			cells = append(cells, cell)
		}
		if ours, least := find("neon", core), find(hardwareOnly, core); ours != nil && least != nil {
			cells = append(cells, fmt.Sprintf("%.2f", ours.Cycles/least.Cycles))
		}
		t.line(cells...)
	}
	t.write(w)
	if doubtful {
		fmt.Fprintln(w, "?: LLVM's model of the core has a square root every cycle, which is too many")
	}
}
