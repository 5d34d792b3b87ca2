// Command predict predicts with llvm-mca how many cycles an element costs in kernel's assembly on
// other CPUs, if all data are in the first cache:
//
//	go run -C bench ./predict [PATTERN]
//
// It finds the main loops of the functions that the regular expression matches ('update.*' by
// default) in a binary. It needs llvm-mca and llvm-objdump.
package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

const modulePath = "github.com/seed57504d97/kernel"

// A platform is an architecture, its cores by llvm-mca's names, and the square root of a vector, which
// tests their models.
type platform struct {
	goarch, triple string
	cores          []string
	root           string
}

var platforms = []platform{
	{"amd64", "x86_64", strings.Fields("skylake-avx512 icelake-server sapphirerapids znver1 znver3 znver4 znver5"),
		"vsqrtps %ymm0, %ymm1"},
	{"arm64", "aarch64", strings.Fields("neoverse-n1 neoverse-v1 neoverse-v2 apple-m1 cortex-a55"),
		"fsqrt v0.4s, v1.4s"},
}

func main() {
	pattern := "update.*"
	if len(os.Args) > 1 {
		pattern = os.Args[1]
	}
	if err := predict(pattern, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "predict:", err)
		os.Exit(1)
	}
}

func predict(pattern string, w io.Writer) error {
	wanted, err := regexp.Compile("^" + regexp.QuoteMeta(modulePath+".") + "(" + pattern + `)\.abi0$`)
	if err != nil {
		return err
	}
	tools, err := findLLVM()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "kernel-predict-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, p := range platforms {
		binary := filepath.Join(dir, p.goarch)
		cmd := exec.Command("go", "test", "-c", "-o", binary, modulePath)
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+p.goarch, "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		fmt.Fprintf(w, "\n%s: cycles for each element in the main loops, predicted by %s\n", p.goarch, filepath.Base(tools.mca))
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "elements\tinstructions\t"+strings.Join(p.cores, "\t")+"\t  loop")
		marks := map[string]string{} // after the numbers of a core
		for _, core := range p.cores {
			if cycles, ok := tools.simulate(p.triple, core, []string{p.root}); ok && cycles < 1.5 {
				marks[core] = "?"
			}
		}
		symbols, err := symbols(binary, wanted)
		if err != nil {
			return err
		}
		for _, symbol := range symbols {
			name := wanted.FindStringSubmatch(symbol)[1]
			out, err := exec.Command(tools.objdump, "-d", "--no-show-raw-insn", "--disassemble-symbols="+symbol, binary).Output()
			if err != nil {
				return err
			}
			loops, err := mainLoops(disassembly(string(out)))
			if err != nil {
				fmt.Fprintf(os.Stderr, "predict: %s is left out: %v\n", name, err)
			}
			for _, l := range loops {
				fmt.Fprintf(t, "%d\t%d\t", l.elements, len(l.body))
				for _, core := range p.cores {
					if cycles, ok := tools.simulate(p.triple, core, l.body); ok {
						fmt.Fprintf(t, "%.2f%s\t", cycles/float64(l.elements), marks[core])
					} else {
						fmt.Fprint(t, "-\t")
					}
				}
				fmt.Fprintf(t, "  %s+%#x\n", name, l.start)
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	fmt.Fprintln(w, "\n-: LLVM does not know the core, or the core lacks the instructions")
	fmt.Fprintln(w, "?: LLVM's model of the core computes a square root in every cycle, which is too fast")
	return nil
}

func symbols(binary string, wanted *regexp.Regexp) (names []string, err error) {
	f, err := elf.Open(binary)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := f.Symbols()
	for _, s := range all {
		if wanted.MatchString(s.Name) {
			names = append(names, s.Name)
		}
	}
	return names, err
}

// ---- From the binary ----

// An instruction of a disassembly.
type instruction struct {
	address uint64
	text    string
	target  uint64 // of a branch; 0 for other instructions
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

// disassembly reads llvm-objdump's output for a function.
func disassembly(out string) (code []instruction) {
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

// A loop is the instructions of one iteration, in the assembler's syntax.
type loop struct {
	start    uint64 // in bytes from the function's start
	body     []string
	elements int // that an iteration updates
}

// mainLoops finds the innermost loops with at least a quarter as many vector instructions as the
// largest: those of the plans, without those of the last elements. It ignores forward branches, which
// lead to the code for rare values or to another plan.
func mainLoops(code []instruction) (loops []loop, err error) {
	vectors := func(body []instruction) (n int) {
		for _, in := range body {
			if vector.MatchString(in.text) {
				n++
			}
		}
		return n
	}
	var bodies [][]instruction
	most := 1
	for end, in := range code {
		start := slices.IndexFunc(code, func(other instruction) bool { return other.address == in.target })
		if in.back() && start >= 0 && !slices.ContainsFunc(code[start:end], instruction.back) {
			bodies = append(bodies, code[start:end+1])
			most = max(most, vectors(code[start:end]))
		}
	}
	for _, body := range bodies {
		if vectors(body) < (most+3)/4 {
			continue
		}
		l := loop{start: body[0].address - code[0].address}
		for i := 0; i < len(body); i++ {
			in := body[i]
			if i < len(body)-1 && always.MatchString(in.text) {
				to := slices.IndexFunc(body, func(other instruction) bool { return other.address == in.target })
				if to < i {
					return nil, fmt.Errorf("the loop at %#x is not in one piece: it contains %q", l.start, in.text)
				}
				i = to - 1 // past what is done rarely
				continue
			}
			if i == len(body)-1 || in.target == 0 {
				l.body = append(l.body, in.text)
			}
		}
		if l.elements, err = elements(l.body); err != nil {
			return nil, fmt.Errorf("the loop at %#x %w", l.start, err)
		}
		loops = append(loops, l)
	}
	if loops == nil {
		return nil, errors.New("no loop of vector instructions found")
	}
	return loops, nil
}

// elements returns how many elements an iteration updates: a quarter of the bytes that it stores to
// each array. Stores to the stack do not count.
func elements(body []string) (int, error) {
	stored := map[string]int{} // bytes, by the register that points to them
	for _, text := range body {
		if match := x86Store.FindStringSubmatch(text); match != nil {
			stored[match[2]] += map[string]int{"x": 16, "y": 32, "z": 64}[match[1]]
		}
		if match := armStore.FindStringSubmatch(text); match != nil {
			stored[match[4]] += 16 * (1 + strings.Count(match[1]+match[2]+match[3], ","))
		}
	}
	delete(stored, "rsp")
	delete(stored, "sp")
	counts := slices.Collect(maps.Values(stored))
	if len(counts) < 2 || slices.Min(counts) != slices.Max(counts) {
		return 0, fmt.Errorf("does not store as much to each array: %v bytes", stored)
	}
	return counts[0] / 4, nil
}

// ---- llvm ----

// llvm holds the two programs, of the same version: an older assembler may not know what a newer
// disassembler prints.
type llvm struct{ mca, objdump string }

// findLLVM prefers the newest version, which knows the most cores.
func findLLVM() (llvm, error) {
	for version := 40; version >= 13; version-- {
		suffix := fmt.Sprint("-", version)
		mca, err1 := exec.LookPath("llvm-mca" + suffix)
		objdump, err2 := exec.LookPath("llvm-objdump" + suffix)
		if err1 == nil && err2 == nil {
			return llvm{mca, objdump}, nil
		}
	}
	return llvm{}, errors.New("llvm-mca and llvm-objdump are not installed")
}

var (
	totalCycles = regexp.MustCompile(`(?m)^Total Cycles: +(\d+)$`)
	postIndexed = regexp.MustCompile(`^(.*\[(x\d+)\]), (#\w+)$`)
)

// simulate returns how many cycles one of many iterations takes, if LLVM knows. In llvm-mca, a store
// with a post-index advances its pointer only when the data is available, so the next iteration's
// load waits for this one's result. Real cores advance it at once. So simulate turns the advance
// into an instruction of its own.
func (tools llvm) simulate(triple, core string, body []string) (cycles float64, ok bool) {
	const iterations = 1000
	cmd := exec.Command(tools.mca, "-mtriple="+triple, "-mcpu="+core, fmt.Sprint("-iterations=", iterations))
	text := "loop:\n"
	for _, line := range body {
		text += postIndexed.ReplaceAllString(line, "$1\nadd $2, $2, $3") + "\n"
	}
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	total := totalCycles.FindSubmatch(out)
	if err != nil || total == nil || bytes.Contains(out, []byte("not a recognized processor")) {
		return 0, false
	}
	cycles, err = strconv.ParseFloat(string(total[1]), 64)
	return cycles / iterations, err == nil
}
