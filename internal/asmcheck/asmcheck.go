// Package asmcheck checks the machine code of assembly functions for faults that no run shows,
// or only a run on another CPU. A function must not have an instruction that its CPU may lack,
// must not leave upper halves of vector registers behind, must not read a vector or mask
// register before it wrote it, and must not touch the stack except for its arguments. The
// package reads the code of a binary with GNU's objdump.
package asmcheck

import (
	"debug/elf"
	"debug/gosym"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// A Machine has the rules for the assembly functions of one GOARCH.
type Machine struct {
	GOARCH string
	tools  string // prefix of the names of GNU's tools
	// The word in a function's name that says which CPUs it is for, and the
	// instructions that all of these have, as GNU's assembler calls them. A function
	// without such a word may use what every CPU of the GOARCH has, the word "".
	gates map[string]string
	next  func(i instruction) (jump string, through bool)
	step  func(f *flow, i instruction, leaves bool) (problems []string)
}

// Machines lists the GOARCHs that have assembly.
var Machines = []Machine{
	{"amd64", "x86_64-linux-gnu-", map[string]string{
		"AVX512": "generic64+avx2+fma+avx512f+avx512dq+avx512bw+avx512vl",
		"AVX2":   "generic64+avx2+fma",
		"":       "generic64",
	}, amd64Next, amd64Step},
	{"arm64", "aarch64-linux-gnu-", map[string]string{
		"NEON": "armv8-a", // with AdvSIMD, which every CPU of Go's arm64 has
		"":     "armv8-a",
	}, arm64Next, arm64Step},
}

// ErrNoTools means that GNU's binary utilities for a machine are missing.
var ErrNoTools = errors.New("GNU's binary utilities are missing")

// Check checks the assembly functions of a package in an ELF binary for m. It returns
// what is wrong with them, and how many it checked of each word in m's gates.
func (m *Machine) Check(binary, importPath string) (problems []string, checked map[string]int, err error) {
	objdump, err := m.tool("objdump")
	if err != nil {
		return nil, nil, err
	}
	as, err := m.tool("as")
	if err != nil {
		return nil, nil, err
	}
	functions, err := assemblyFunctions(binary, importPath)
	if err != nil {
		return nil, nil, err
	}
	checked = map[string]int{}
	for _, f := range functions {
		report := func(found ...string) {
			for _, problem := range found {
				problems = append(problems, f.name+": "+problem)
			}
		}
		word, march, ok := m.gate(f.name)
		if !ok {
			report("several words in the name say which CPUs it is for")
			continue
		}
		listing, err := exec.Command(objdump, "-d", "-w", fmt.Sprintf("--start-address=%#x", f.start),
			fmt.Sprintf("--stop-address=%#x", f.end), binary).Output()
		if err != nil {
			return nil, nil, err
		}
		code := withoutPadding(parseListing(string(listing)))
		if len(code) == 0 {
			return nil, nil, fmt.Errorf("%s: no instructions in\n%s", f.name, listing)
		}
		unknown, err := unknownInstructions(code, as, march)
		if err != nil {
			return nil, nil, err
		}
		report(unknown...)
		if word == "AVX2" {
			report(evexEncodings(code)...)
		}
		report(rootIterations(code)...)
		report(m.paths(code)...)
		checked[word]++
	}
	return problems, checked, nil
}

// rootIterations reports roots in software whose number of fused steps is not the one that
// TestRootModel and TestQuotientModel prove. This CPU's estimates may be better than required,
// so a run of the kernel might not show a missing step. Each iteration, correction and
// refinement has one VFNMADD231PS.
func rootIterations(code []instruction) (problems []string) {
	for estimate, want := range map[string]int{"vrsqrt14ps": 1 + 1 + 2, "vrsqrtps": 2 + 1} {
		roots, fused := 0, 0
		for _, i := range code {
			if strings.HasPrefix(i.text, estimate+" ") {
				roots++
			}
			if strings.HasPrefix(i.text, "vfnmadd231ps ") {
				fused++
			}
		}
		if roots > 0 && fused != roots*want {
			problems = append(problems, fmt.Sprintf("%d times vfnmadd231ps for %d times %s, want %d for each", fused, roots, estimate, want))
		}
	}
	return problems
}

// tool returns the name of one of GNU's binary utilities for m.
func (m *Machine) tool(name string) (string, error) {
	if _, err := exec.LookPath(m.tools + name); err == nil {
		return m.tools + name, nil
	}
	if _, err := exec.LookPath(name); err == nil && runtime.GOOS == "linux" && runtime.GOARCH == m.GOARCH {
		return name, nil
	}
	return "", fmt.Errorf("%w: no %s%s", ErrNoTools, m.tools, name)
}

// gate returns the one word of m.gates that is in a function's name, or the empty one, and
// its instructions.
func (m *Machine) gate(function string) (word, march string, ok bool) {
	for w := range m.gates {
		if w == "" || !strings.Contains(function, w) {
			continue
		}
		if word != "" {
			return "", "", false
		}
		word = w
	}
	return word, m.gates[word], true
}

type function struct {
	name       string
	start, end uint64
}

// assemblyFunctions returns a package's functions whose first line is in a .s file, or in
// a .h file that one includes.
func assemblyFunctions(binary, importPath string) (found []function, err error) {
	file, err := elf.Open(binary)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines, err := file.Section(".gopclntab").Data()
	if err != nil {
		return nil, err
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(lines, file.Section(".text").Addr))
	if err != nil {
		return nil, err
	}
	symbols, err := file.Symbols()
	if err != nil {
		return nil, err
	}
	for _, s := range symbols {
		name, ours := strings.CutPrefix(s.Name, importPath+".")
		if !ours || elf.ST_TYPE(s.Info) != elf.STT_FUNC {
			continue
		}
		if source, _, _ := table.PCToLine(s.Value); strings.HasSuffix(source, ".s") || strings.HasSuffix(source, ".h") {
			found = append(found, function{strings.TrimSuffix(name, ".abi0"), s.Value, s.Value + s.Size})
		}
	}
	return found, nil
}

// An instruction as objdump shows it, in AT&T's syntax for x86: the operand that
// is written comes last. On Arm it comes first.
type instruction struct {
	address  uint64
	bytes    string
	text     string
	name     string
	operands []string
}

func (i instruction) String() string { return fmt.Sprintf("%#x: %s", i.address, i.text) }

var (
	listingLine = regexp.MustCompile(`^ *([0-9a-f]+):\t([0-9a-f ]+?) *\t(.*)$`)
	comment     = regexp.MustCompile(` *\t*(#|//) .*$`)
	symbol      = regexp.MustCompile(` <[^>]*>$`)
)

func parseListing(listing string) (code []instruction) {
	for _, line := range strings.Split(listing, "\n") {
		match := listingLine.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		address, err := strconv.ParseUint(match[1], 16, 64)
		if err != nil {
			continue
		}
		text := strings.TrimRight(comment.ReplaceAllString(match[3], ""), " \t")
		text = symbol.ReplaceAllString(text, "")
		name, rest, _ := strings.Cut(strings.ReplaceAll(text, "\t", " "), " ")
		code = append(code, instruction{address, match[2], text, name, splitOperands(rest)})
	}
	return code
}

// withoutPadding removes the padding at the end of a function.
func withoutPadding(code []instruction) []instruction {
	for len(code) > 0 && (code[len(code)-1].name == "udf" || code[len(code)-1].name == "int3") {
		code = code[:len(code)-1]
	}
	return code
}

// splitOperands splits at the commas outside brackets.
func splitOperands(text string) (operands []string) {
	depth, start := 0, 0
	for i, c := range text + "," {
		switch c {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		case ',':
			if operand := strings.TrimSpace(text[start:i]); depth == 0 && operand != "" {
				operands = append(operands, operand)
				start = i + 1
			}
		}
	}
	return operands
}

// unknownInstructions returns the instructions that GNU's assembler refuses for the given CPUs.
func unknownInstructions(code []instruction, as, march string) (problems []string, err error) {
	var source strings.Builder
	for _, i := range code {
		operands := slices.Clone(i.operands)
		if last := len(operands) - 1; last >= 0 && bareAddress.MatchString(operands[last]) {
			operands[last] = "." // the target of a branch does not matter here
		}
		fmt.Fprintln(&source, i.name, strings.Join(operands, ", "))
	}
	folder, err := os.MkdirTemp("", "asmcheck")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	assemble := exec.Command(as, "-march="+march, "-o", filepath.Join(folder, "code.o"), "-")
	assemble.Stdin = strings.NewReader(source.String())
	out, err := assemble.CombinedOutput()
	for _, match := range assemblerError.FindAllStringSubmatch(string(out), -1) {
		line, _ := strconv.Atoi(match[1])
		problems = append(problems, fmt.Sprintf("%v: %s", code[line-1], match[2]))
	}
	if err != nil && len(problems) == 0 {
		return nil, fmt.Errorf("%v: %w\n%s", assemble, err, out)
	}
	return problems, nil
}

var (
	bareAddress    = regexp.MustCompile(`^[0-9a-f]+$`)
	assemblerError = regexp.MustCompile(`:(\d+): Error: (.*)`)
)

// evexEncodings returns AVX-512's forms of instructions that AVX2 also has.
func evexEncodings(code []instruction) (problems []string) {
	for _, i := range code {
		if strings.HasPrefix(i.bytes, "62 ") {
			problems = append(problems, fmt.Sprintf("%v: EVEX encoding: %s", i, i.bytes))
		}
	}
	return problems
}

// ---- All ways through a function ----

// A flow is what is known before an instruction on every way that reaches it.
type flow struct {
	wide    bool   // a YMM or ZMM register was used since the last VZEROUPPER
	written uint64 // vector registers from bit 0, mask registers from bit 32
}

// merge combines f with the flow of another way, and reports whether f changed.
func (f *flow) merge(other flow) (changed bool) {
	merged := flow{f.wide || other.wide, f.written & other.written}
	changed = merged != *f
	*f = merged
	return changed
}

// paths follows all ways through a function and returns what is wrong on any of them.
func (m *Machine) paths(code []instruction) (problems []string) {
	at := map[uint64]int{}
	for n, i := range code {
		at[i.address] = n
	}
	report := func(i instruction, problem string) {
		if problem = fmt.Sprintf("%v: %s", i, problem); !slices.Contains(problems, problem) {
			problems = append(problems, problem)
		}
	}
	before := make([]*flow, len(code))
	before[0] = &flow{}
	for open := []int{0}; len(open) > 0; {
		n := open[len(open)-1]
		open = open[:len(open)-1]
		i, f := code[n], *before[n]
		jump, through := m.next(i)
		var to []int
		leaves := !through && jump == ""
		if jump != "" {
			target, err := strconv.ParseUint(jump, 16, 64)
			if err != nil {
				report(i, "where does it go?")
				continue
			}
			if there, ok := at[target]; ok {
				to = append(to, there)
			} else {
				leaves = true
			}
		}
		for _, problem := range m.step(&f, i, leaves) {
			report(i, problem)
		}
		if through && n+1 == len(code) {
			report(i, "runs off the function's end")
		} else if through {
			to = append(to, n+1)
		}
		for _, n := range to {
			if before[n] == nil {
				before[n] = &flow{f.wide, f.written}
				open = append(open, n)
			} else if before[n].merge(f) {
				open = append(open, n)
			}
		}
	}
	for n, i := range code {
		if before[n] == nil {
			report(i, "no way leads here")
		}
	}
	return problems
}

// argument reports whether an operand at a register is one of the function's arguments or
// results, which lie above the return address.
func argument(offset string) bool {
	n, err := strconv.ParseInt(offset, 0, 64)
	return err == nil && n >= 8
}

// ---- amd64 ----

func amd64Next(i instruction) (jump string, through bool) {
	switch {
	case i.name == "ret" || i.name == "ud2" || i.name == "int3":
		return "", false
	case strings.HasPrefix(i.name, "j"):
		return i.operands[0], i.name != "jmp"
	}
	return "", true
}

var (
	amd64Stack  = regexp.MustCompile(`(-?(?:0x)?[0-9a-f]*)\(%[re]?sp(,[^)]*)?\)`)
	amd64Wide   = regexp.MustCompile(`%[yz]mm`)
	amd64Vector = regexp.MustCompile(`%[xyz]mm(\d+)|%k([0-7])`)
	amd64Mask   = regexp.MustCompile(`\{%k[0-7]\}(\{z\})?`)
	// Instructions that read the operand that they write, and those that only read their last one.
	amd64Updates = regexp.MustCompile(`^vfn?m(add|sub)`)
	amd64Reads   = regexp.MustCompile(`^(v?u?comis|v?ptest|kortest|ktest|prefetch)`)
)

func amd64Step(f *flow, i instruction, leaves bool) (problems []string) {
	switch {
	case i.name == "vzeroupper" || i.name == "vzeroall":
		f.wide = false
	case amd64Wide.MatchString(i.text):
		f.wide = true
	case f.wide && strings.Contains(i.text, "%xmm") && !strings.HasPrefix(i.name, "v"):
		problems = append(problems, "SSE while the upper halves are in use, which is slow")
	}
	if f.wide && (leaves || i.name == "call") {
		problems = append(problems, "VZEROUPPER is missing on a way to here")
	}
	for _, operand := range i.operands {
		memory := amd64Stack.FindStringSubmatch(operand)
		if memory != nil && (!argument(memory[1]) || memory[2] != "") || operand == "%rsp" || operand == "%esp" {
			problems = append(problems, "the stack is used, and not for an argument")
		}
	}
	if i.name == "push" || i.name == "pop" || i.name == "call" {
		problems = append(problems, "the stack is used, and not for an argument")
	}
	if len(i.operands) == 0 {
		return problems
	}

	last := i.operands[len(i.operands)-1]
	target := amd64Mask.ReplaceAllString(last, "")
	reads := strings.Join(i.operands[:len(i.operands)-1], " ") + " "
	if masked := amd64Mask.FindString(last); masked != "" {
		reads += masked
		if !strings.Contains(masked, "{z}") && !strings.HasPrefix(target, "%k") {
			reads += target // the other lanes stay
		}
	}
	if !strings.HasPrefix(target, "%") || amd64Updates.MatchString(i.name) || amd64Reads.MatchString(i.name) {
		reads += target
	}
	// x XOR x is 0 and x = x true, whatever x is.
	idiom := len(i.operands) == 3 && i.operands[0] == i.operands[1] &&
		(strings.Contains(i.name, "xor") || strings.HasPrefix(i.name, "vpcmpeq") || strings.HasPrefix(i.name, "kxnor"))
	for _, register := range amd64Vector.FindAllStringSubmatch(reads, -1) {
		if bit := registerBit(register); !idiom && f.written&bit == 0 {
			problems = append(problems, register[0]+" is read and was not written on a way to here")
		}
	}
	if register := amd64Vector.FindStringSubmatch(target); register != nil && register[0] == target && !amd64Reads.MatchString(i.name) {
		f.written |= registerBit(register)
	}
	return problems
}

// registerBit returns the bit of a vector or mask register in a flow.
func registerBit(match []string) uint64 {
	if match[1] != "" {
		n, _ := strconv.Atoi(match[1])
		return 1 << n
	}
	n, _ := strconv.Atoi(match[2])
	return 1 << (32 + n)
}

// ---- arm64 ----

func arm64Next(i instruction) (jump string, through bool) {
	switch {
	case i.name == "ret" || i.name == "udf" || i.name == "brk":
		return "", false
	case i.name == "b" || i.name == "br":
		return i.operands[0], false
	case strings.HasPrefix(i.name, "b.") || strings.HasPrefix(i.name, "cb") || i.name == "tbz" || i.name == "tbnz":
		return i.operands[len(i.operands)-1], true
	}
	return "", true
}

var arm64Stack = regexp.MustCompile(`^\[sp(?:, #(-?\d+))?\](!?)$`)

func arm64Step(f *flow, i instruction, leaves bool) (problems []string) {
	for n, operand := range i.operands {
		memory := arm64Stack.FindStringSubmatch(operand)
		if memory != nil && (!argument(memory[1]) || memory[2] != "" || n+1 < len(i.operands)) ||
			memory == nil && regexp.MustCompile(`\bsp\b`).MatchString(operand) {
			return []string{"the stack is used, and not for an argument"}
		}
	}
	if i.name == "bl" || i.name == "blr" {
		return []string{"a call"}
	}
	return nil
}
