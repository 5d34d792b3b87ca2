package kernel

import (
	"debug/elf"
	"debug/gosym"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What no run of the kernels shows, or only one on a CPU that is not here, the
// machine code does: that a kernel has no instruction that its CPU may lack,
// that it leaves no upper halves of vector registers behind, and that it keeps to
// its stack frame. GNU's objdump reads test binaries built for the purpose.

// A machine is what the functions of one GOARCH are checked against.
type machine struct {
	goarch, tools string // what the names of GNU's tools begin with
	// The word in a function's name that says which CPUs it is for, and the
	// instructions that all of these have (detect), as GNU's assembler calls them.
	gates map[string]string
	paths paths
}

var machines = []machine{
	{"amd64", "x86_64-linux-gnu-", map[string]string{
		"AVX512": "generic64+avx2+fma+avx512f+avx512dq+avx512bw+avx512vl",
		"AVX2":   "generic64+avx2+fma",
	}, paths{amd64Next, amd64Step}},
	{"arm64", "aarch64-linux-gnu-", map[string]string{
		"NEON": "armv8-a", // with AdvSIMD, which every CPU of Go's arm64 has
	}, paths{arm64Next, arm64Step}},
}

func TestMachineCode(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two test binaries")
	}
	for _, m := range machines {
		t.Run(m.goarch, func(t *testing.T) {
			objdump, as := m.tool(t, "objdump"), m.tool(t, "as")
			binary := filepath.Join(t.TempDir(), "kernel.test")
			build := exec.Command("go", "test", "-c", "-o", binary, ".")
			build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+m.goarch, "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", build, err, out)
			}
			checked := map[string]int{}
			for _, f := range assemblyFunctions(t, binary) {
				word, march := m.gate(f.name)
				if word == "" {
					t.Errorf("%s: no word of %v in the name, or several, says which CPUs it is for", f.name, slices.Sorted(maps.Keys(m.gates)))
					continue
				}
				listing, err := exec.Command(objdump, "-d", "-w", fmt.Sprintf("--start-address=%#x", f.start),
					fmt.Sprintf("--stop-address=%#x", f.end), binary).Output()
				if err != nil {
					t.Fatal(err)
				}
				code := withoutData(parseListing(string(listing)))
				if len(code) == 0 {
					t.Fatalf("%s: no instructions in\n%s", f.name, listing)
				}
				problems := unknownInstructions(t, code, as, march)
				if word == "AVX2" {
					problems = append(problems, evexEncodings(code)...)
				}
				problems = append(problems, rootIterations(code)...)
				for _, problem := range append(problems, m.paths.problems(code)...) {
					t.Errorf("%s: %s", f.name, problem)
				}
				checked[word]++
			}
			for word := range m.gates {
				if checked[word] == 0 {
					t.Errorf("no function for %s", word)
				}
			}
			t.Logf("functions: %v", checked)
		})
	}
}

// rootIterations tells where roots in software have another number of iterations
// than what TestRootModel proves: this CPU's estimates may be better than they
// have to be, so that running the kernel would not show one too few. An iteration,
// and the correction, has one VFNMADD.
func rootIterations(code []instruction) (problems []string) {
	for estimate, iterations := range map[string]int{"vrsqrt14ps": 1, "vrsqrtps": 2} {
		roots, fused := 0, 0
		for _, i := range code {
			if strings.HasPrefix(i.text, estimate+" ") {
				roots++
			}
			if strings.HasPrefix(i.text, "vfnmadd231ps ") {
				fused++
			}
		}
		if roots > 0 && fused != roots*(iterations+1) {
			problems = append(problems, fmt.Sprintf("%d times vfnmadd231ps for %d times %s, want %d for each", fused, roots, estimate, iterations+1))
		}
	}
	return problems
}

// What is wrong with a few lines of code, in the words of paths.problems; the
// instruction in line n is at address 0xn0.
func TestMachineCodePaths(t *testing.T) {
	for _, test := range []struct {
		goarch, code, want string
	}{
		{"amd64", "vmovups (%rdi),%xmm0; ret", ""},
		{"amd64", "vmovups (%rdi),%ymm0; vzeroupper; ret", ""},
		{"amd64", "vmovups (%rdi),%ymm0; ret", "0x10: ret: VZEROUPPER is missing on a way to here"},
		{"amd64", "test %rcx,%rcx; je 40; vmovups (%rdi),%zmm0; vzeroupper; ret", ""},
		{"amd64", "vmovups (%rdi),%zmm0; je 30; vzeroupper; ret", "0x30: ret: VZEROUPPER is missing on a way to here"},
		{"amd64", "jmp 30; vmovups (%rdi),%ymm0; ret; dec %rcx; jne 10; ret", "0x20: ret: VZEROUPPER is missing on a way to here"},
		{"amd64", "vmovups (%rdi),%ymm0; jmp 900", "0x10: jmp 900: VZEROUPPER is missing on a way to here"},
		{"amd64", "vmovups (%rdi),%ymm0; call 900; vzeroupper; ret", "0x10: call 900: VZEROUPPER is missing on a way to here"},
		{"amd64", "vmovups (%rdi),%ymm0; movss (%rsi),%xmm1; vzeroupper; ret", "0x10: movss (%rsi),%xmm1: SSE while the upper halves are in use, which is slow"},
		{"amd64", "jmp *%rax", "0x0: jmp *%rax: where does it go?"},
		{"amd64", "nop", "0x0: nop: runs off the function's end"},
		{"amd64", "ret; nop", "0x10: nop: no way leads here"},

		{"amd64", "push %rbp; sub $0x20,%rsp; movups %xmm0,0x10(%rsp); add $0x20,%rsp; pop %rbp; ret", ""},
		{"amd64", "push %rbp; sub $0x20,%rsp; movups %xmm0,0x11(%rsp); add $0x20,%rsp; pop %rbp; ret", "0x20: movups %xmm0,0x11(%rsp): a store to 1 bytes beyond the frame"},
		{"amd64", "push %rbp; sub $0x20,%rsp; movl $0x0,0x38(%rsp); add $0x20,%rsp; pop %rbp; ret", ""}, // a result
		{"amd64", "movl $0x0,-0x4(%rsp); ret", "0x0: movl $0x0,-0x4(%rsp): 4 bytes below the stack pointer"},
		{"amd64", "mov %eax,-0x20(%rsp,%rcx,4); ret", "0x0: mov %eax,-0x20(%rsp,%rcx,4): 32 bytes below the stack pointer"},
		{"amd64", "mov -0x8(%rsp),%eax; ret", "0x0: mov -0x8(%rsp),%eax: 8 bytes below the stack pointer"},
		{"amd64", "movq $0x0,(%rsp); ret", "0x0: movq $0x0,(%rsp): a store to 8 bytes beyond the frame"}, // the return address
		{"amd64", "sub $0x40,%rsp; lea (%rsp),%r11; add $0x1f,%r11; and $0xffffffffffffffe0,%r11; movss %xmm0,0x15(%r11); add $0x40,%rsp; ret", ""},
		{"amd64", "sub $0x40,%rsp; lea (%rsp),%r11; add $0x1f,%r11; and $0xffffffffffffffe0,%r11; movss %xmm0,0x16(%r11); add $0x40,%rsp; ret", "0x40: movss %xmm0,0x16(%r11): a store to 1 bytes beyond the frame"},
		{"amd64", "sub $0x40,%rsp; mov %rsp,%r11; and $0xffffffffffffffe0,%r11; movss %xmm0,(%r11); add $0x40,%rsp; ret", "0x30: movss %xmm0,(%r11): 31 bytes below the stack pointer"},
		{"amd64", "sub $0x8,%rsp; mov %rsp,%r8; mov %ecx,%r8d; mov %al,0x40(%r8); add $0x8,%rsp; ret", ""}, // elsewhere
		{"amd64", "sub $0x8,%rsp; ret", "0x10: ret: the stack pointer is off by -8"},
		{"amd64", "je 20; push %rax; ret", "0x20: ret: the stack pointer is at 0 or -8"},
		{"amd64", "mov %rdi,%rsp; ret", "0x0: mov %rdi,%rsp: where does the stack pointer go?"},

		{"arm64", "ld1 {v0.4s}, [x0], #16; cbnz x1, 0; ret", ""},
		{"arm64", "str x30, [sp, #-32]!; stur x29, [sp, #-8]; str q0, [sp, #16]; ldr x30, [sp], #32; ret", ""},
		{"arm64", "str x30, [sp, #-32]!; str q0, [sp, #24]; ldr x30, [sp], #32; ret", "0x10: str q0, [sp, #24]: a store to 8 bytes beyond the frame"},
		{"arm64", "stur s0, [sp, #-4]; ret", "0x0: stur s0, [sp, #-4]: 4 bytes below the stack pointer"},
		{"arm64", "sub sp, sp, #0x20; mov x9, sp; st1 {v0.4s, v1.4s}, [x9], #32; str w0, [x9]; add sp, sp, #0x20; ret", "0x30: str w0, [x9]: a store to 4 bytes beyond the frame"},
		{"arm64", "sub sp, sp, #0x10; ret", "0x10: ret: the stack pointer is off by -16"},
		{"arm64", "br x9", "0x0: br x9: where does it go?"},
	} {
		var listing strings.Builder
		for n, line := range strings.Split(test.code, "; ") {
			fmt.Fprintf(&listing, "  %x:\t90 \t%s\n", 16*n, line)
		}
		for _, m := range machines {
			if m.goarch != test.goarch {
				continue
			}
			if got := strings.Join(m.paths.problems(parseListing(listing.String())), "\n"); got != test.want {
				t.Errorf("%s: %s\n%s\nwant\n%s", m.goarch, test.code, got, test.want)
			}
		}
	}
}

// Of each line the assembler for a kernel's name takes the first instruction and
// not the second.
func TestMachineCodeGates(t *testing.T) {
	if testing.Short() {
		t.Skip("starts GNU's assembler")
	}
	for _, test := range []struct{ name, known, unknown string }{
		{"updateAVX512", "vaddps %zmm1,%zmm2,%zmm3{%k1}{z}", "vpdpbusd %zmm1,%zmm2,%zmm3"}, // VNNI
		{"updateAVX512", "vrsqrt14ps %ymm17,%ymm18", "vrsqrt28ps %zmm1,%zmm2"},             // VL, ER
		{"updateAVX512", "vandps %zmm1,%zmm2,%zmm3", "vpermb %zmm1,%zmm2,%zmm3"},           // DQ, VBMI
		{"updateAVX512", "vpaddb %zmm1,%zmm2,%zmm3", "andn %eax,%ecx,%edx"},                // BW, BMI1
		{"updateAVX2", "vpaddd %ymm1,%ymm2,%ymm3", "vpaddd %ymm1,%ymm2,%ymm16"},            // VL
		{"updateAVX2", "vfmadd231ps %ymm1,%ymm2,%ymm3", "vrsqrt14ps %ymm1,%ymm2"},          // FMA3, VL
		{"updateAVX2", "addps %xmm1,%xmm2", "vcvtph2ps %xmm1,%ymm2"},                       // SSE, F16C
		{"updateAVX2", "vbroadcastss %xmm1,%ymm2", "kmovw %eax,%k1"},                       // AVX2, F
		{"updateNEON", "fadd v0.4s, v1.4s, v2.4s", "fadd v0.8h, v1.8h, v2.8h"},             // half precision
		{"updateNEON", "cmtst v0.4s, v1.4s, v2.4s", "udot v0.4s, v1.16b, v2.16b"},          // dot products
		{"updateNEON", "ldr q0, [x0], #16", "ldadd x0, x1, [x2]"},                          // LSE
		{"updateNEON", "frsqrte v0.4s, v1.4s", "ld1w z0.s, p0/z, [x0]"},                    // SVE
	} {
		for _, m := range machines {
			word, march := m.gate(test.name)
			if word == "" {
				continue
			}
			t.Run(m.goarch, func(t *testing.T) {
				code := parseListing("  0:\t90 \t" + test.known + "\n  4:\t90 \t" + test.unknown + "\n")
				if got := unknownInstructions(t, code, m.tool(t, "as"), march); len(got) != 1 || !strings.HasPrefix(got[0], "0x4: ") {
					t.Errorf("%s: %s; %s: %q", test.name, test.known, test.unknown, got)
				}
			})
		}
	}
	for _, name := range []string{"update", "updateSSE", "updateAVX2AVX512"} {
		if word, _ := machines[0].gate(name); word != "" {
			t.Errorf("%s passes for %s", name, word)
		}
	}
	evex := parseListing("  0:\t62 f1 74 28 58 c2 \tvaddps %ymm2,%ymm1,%ymm0\n  6:\tc5 f4 58 c2 \tvaddps %ymm2,%ymm1,%ymm0\n")
	if got := evexEncodings(evex); len(got) != 1 {
		t.Errorf("EVEX encodings: %q", got)
	}
}

// tool returns the name of one of GNU's binary utilities for m.
func (m *machine) tool(t *testing.T, name string) string {
	if _, err := exec.LookPath(m.tools + name); err == nil {
		return m.tools + name
	}
	if _, err := exec.LookPath(name); err == nil && runtime.GOOS == "linux" && runtime.GOARCH == m.goarch {
		return name
	}
	t.Skipf("THE MACHINE CODE WAS NOT CHECKED: no %s%s here", m.tools, name)
	return ""
}

// gate returns the one word of m.gates that is in a function's name, and its
// instructions.
func (m *machine) gate(function string) (word, march string) {
	for w, instructions := range m.gates {
		if !strings.Contains(function, w) {
			continue
		}
		if word != "" {
			return "", ""
		}
		word, march = w, instructions
	}
	return word, march
}

type function struct {
	name       string
	start, end uint64
}

// assemblyFunctions returns the package's functions in an ELF binary whose first
// line is in a .s file.
func assemblyFunctions(t *testing.T, binary string) (found []function) {
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines, err := file.Section(".gopclntab").Data()
	if err != nil {
		t.Fatal(err)
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(lines, file.Section(".text").Addr))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		name, ours := strings.CutPrefix(s.Name, "github.com/seed57504d97/kernel.")
		if !ours || elf.ST_TYPE(s.Info) != elf.STT_FUNC {
			continue
		}
		if source, _, _ := table.PCToLine(s.Value); strings.HasSuffix(source, ".s") {
			found = append(found, function{strings.TrimSuffix(name, ".abi0"), s.Value, s.Value + s.Size})
		}
	}
	return found
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

// withoutData leaves out what lies in a function and is none of its instructions:
// the padding at its end, and on Arm the constants that it loads from there.
func withoutData(code []instruction) []instruction {
	data := map[uint64]bool{}
	for _, i := range code {
		if last := len(i.operands) - 1; i.name == "ldr" && bareAddress.MatchString(i.operands[last]) {
			start, _ := strconv.ParseUint(i.operands[last], 16, 64)
			for n := range uint64(arm64Size(i.operands[:last])) {
				data[start+n] = true
			}
		}
	}
	code = slices.DeleteFunc(code, func(i instruction) bool { return data[i.address] })
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

// unknownInstructions are those that GNU's assembler does not take when told
// which instructions there are.
func unknownInstructions(t *testing.T, code []instruction, as, march string) (problems []string) {
	var source strings.Builder
	for _, i := range code {
		operands := slices.Clone(i.operands)
		if last := len(operands) - 1; last >= 0 && bareAddress.MatchString(operands[last]) {
			operands[last] = "." // where a branch goes does not matter here
		}
		fmt.Fprintln(&source, i.name, strings.Join(operands, ", "))
	}
	assemble := exec.Command(as, "-march="+march, "-o", filepath.Join(t.TempDir(), "code.o"), "-")
	assemble.Stdin = strings.NewReader(source.String())
	out, err := assemble.CombinedOutput()
	for _, match := range assemblerError.FindAllStringSubmatch(string(out), -1) {
		line, _ := strconv.Atoi(match[1])
		problems = append(problems, fmt.Sprintf("%v: %s", code[line-1], match[2]))
	}
	if err != nil && len(problems) == 0 {
		t.Fatalf("%v: %v\n%s", assemble, err, out)
	}
	return problems
}

var (
	bareAddress    = regexp.MustCompile(`^[0-9a-f]+$`)
	assemblerError = regexp.MustCompile(`:(\d+): Error: (.*)`)
)

// evexEncodings are AVX-512's forms of instructions that AVX2 has, too.
func evexEncodings(code []instruction) (problems []string) {
	for _, i := range code {
		if strings.HasPrefix(i.bytes, "62 ") {
			problems = append(problems, fmt.Sprintf("%v: EVEX encoding: %s", i, i.bytes))
		}
	}
	return problems
}

// ---- All ways through a function ----

// A flow is what is known before an instruction, on whichever way it was come to.
type flow struct {
	wide bool                 // a YMM or ZMM register was used since the last VZEROUPPER
	sp   int64                // the stack pointer, seen from where it was at first
	into map[string]frameSpan // registers that point into the stack, likewise
}

// A frameSpan has the least and the greatest value that there may be.
type frameSpan struct{ low, high int64 }

func (s frameSpan) plus(n int64) frameSpan { return frameSpan{s.low + n, s.high + n} }

// roundDown is s with the bits below those of mask cleared; mask is -2^k.
func (s frameSpan) roundDown(mask int64) frameSpan { return frameSpan{s.low + mask + 1, s.high} }

// merge adds to f what another way brings, and tells whether that is new.
func (f *flow) merge(other flow, giveUp bool) (changed bool, problem string) {
	if f.sp != other.sp {
		return false, fmt.Sprintf("the stack pointer is at %d or %d", f.sp, other.sp)
	}
	if other.wide && !f.wide {
		f.wide, changed = true, true
	}
	for register, s := range f.into {
		o, ok := other.into[register]
		hull := frameSpan{min(s.low, o.low), max(s.high, o.high)}
		switch {
		case ok && hull == s:
		case ok && !giveUp:
			f.into[register], changed = hull, true
		default:
			delete(f.into, register)
			changed = true
		}
	}
	return changed, ""
}

// paths knows an architecture's instructions: to which addresses one leads, and
// what it does.
type paths struct {
	next func(i instruction) (jump string, through bool)
	step func(f *flow, i instruction, leaves bool) (problems []string)
}

// problems follows all ways through a function.
func (p paths) problems(code []instruction) (problems []string) {
	at := map[uint64]int{}
	for n, i := range code {
		at[i.address] = n
	}
	before := make([]*flow, len(code))
	visits := make([]int, len(code))
	report := func(i instruction, format string, args ...any) {
		if problem := fmt.Sprintf("%v: ", i) + fmt.Sprintf(format, args...); !slices.Contains(problems, problem) {
			problems = append(problems, problem)
		}
	}
	before[0] = &flow{into: map[string]frameSpan{}}
	for open := []int{0}; len(open) > 0; {
		n := open[len(open)-1]
		open = open[:len(open)-1]
		i := code[n]
		f := flow{before[n].wide, before[n].sp, maps.Clone(before[n].into)}
		jump, through := p.next(i)
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
		for _, problem := range p.step(&f, i, leaves) {
			report(i, "%s", problem)
		}
		if through && n+1 == len(code) {
			report(i, "runs off the function's end")
		} else if through {
			to = append(to, n+1)
		}
		for _, n := range to {
			if before[n] == nil {
				before[n] = &flow{f.wide, f.sp, maps.Clone(f.into)}
				open = append(open, n)
				continue
			}
			visits[n]++
			changed, problem := before[n].merge(f, visits[n] > 20)
			if problem != "" {
				report(code[n], "%s", problem)
			} else if changed {
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

// A pointer is what is known of a register, sp being the stack pointer's name.
func (f *flow) pointer(register, sp string) (where frameSpan, ok bool) {
	if register == sp {
		return frameSpan{f.sp, f.sp}, true
	}
	where, ok = f.into[register]
	return where, ok
}

// set has a register hold a pointer into the stack, or something else.
func (f *flow) set(register, sp string, where frameSpan, known bool) (problem string) {
	switch {
	case register == sp && (!known || where.low != where.high):
		return "where does the stack pointer go?"
	case register == sp:
		f.sp = where.low
	case known:
		f.into[register] = where
	default:
		delete(f.into, register)
	}
	return ""
}

// access checks an access to so many bytes of the stack: nothing below the stack
// pointer, which a signal handler may overwrite, and no store beyond the frame,
// whose end is at top. Behind that lie what the caller keeps there and, from
// 8 up, the arguments and results, which only the stack pointer itself leads to.
func (f *flow) access(where frameSpan, size int64, store, direct bool, top int64) (problem string) {
	switch {
	case where.low < f.sp:
		return fmt.Sprintf("%d bytes below the stack pointer", f.sp-where.low)
	case store && where.high+size > top && !(direct && where.low >= 8):
		return fmt.Sprintf("a store to %d bytes beyond the frame", where.high+size-top)
	}
	return ""
}

// ---- amd64 ----

// amd64Whole has the register that one is part of, for the general ones.
var amd64Whole = func() map[string]string {
	whole := map[string]string{}
	add := func(parts ...string) {
		for _, part := range parts {
			whole["%"+part] = "%" + parts[0]
		}
	}
	for _, r := range "abcd" {
		add(fmt.Sprintf("r%cx", r), fmt.Sprintf("e%cx", r), fmt.Sprintf("%cx", r), fmt.Sprintf("%cl", r), fmt.Sprintf("%ch", r))
	}
	for _, r := range []string{"si", "di", "bp", "sp"} {
		add("r"+r, "e"+r, r, r+"l")
	}
	for n := 8; n < 16; n++ {
		r := fmt.Sprintf("r%d", n)
		add(r, r+"d", r+"w", r+"b")
	}
	return whole
}()

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
	amd64Memory = regexp.MustCompile(`^(-?0x[0-9a-f]+)?\((%\w+)(,%\w+,[1248])?\)`)
	amd64Wide   = regexp.MustCompile(`%[yz]mm`)
	// What writes no operand, or writes registers that it does not name.
	amd64Reads  = regexp.MustCompile(`^(v?u?comis|cmp[bwlq]?$|test|v?ptest|prefetch|bt[wlq]?$|nop)`)
	amd64Others = regexp.MustCompile(`^(call|mul|imul|div|idiv|xchg|xadd|cmpxchg|cpuid|rdtsc|xgetbv|rep|movs[bwlq]$|stos|lods|cqto|cltd|mulx)`)
)

func amd64Step(f *flow, i instruction, leaves bool) (problems []string) {
	const sp = "%rsp"
	complain := func(problem string) {
		if problem != "" {
			problems = append(problems, problem)
		}
	}
	switch {
	case i.name == "vzeroupper" || i.name == "vzeroall":
		f.wide = false
	case amd64Wide.MatchString(i.text):
		f.wide = true
	case f.wide && strings.Contains(i.text, "%xmm") && !strings.HasPrefix(i.name, "v"):
		complain("SSE while the upper halves are in use, which is slow")
	}
	if f.wide && (leaves || i.name == "call") {
		complain("VZEROUPPER is missing on a way to here")
	}
	if leaves && f.sp != 0 {
		complain(fmt.Sprintf("the stack pointer is off by %d", f.sp))
	}

	for n, operand := range i.operands {
		memory := amd64Memory.FindStringSubmatch(operand)
		if memory == nil || i.name == "lea" {
			continue
		}
		where, ok := f.pointer(memory[2], sp)
		if !ok {
			continue
		}
		size, store := amd64Size(i), n == len(i.operands)-1 && !amd64Reads.MatchString(i.name)
		if memory[3] != "" { // an index from 0 up, but who knows to where
			size, store = 0, false
		}
		var top int64
		if f.sp < 0 {
			top = -8 // the caller's BP
		}
		complain(f.access(where.plus(hexadecimal(memory[1])), size, store, memory[2] == sp, top))
	}

	if len(i.operands) == 0 || amd64Others.MatchString(i.name) {
		if amd64Others.MatchString(i.name) {
			clear(f.into)
		}
		return problems
	}
	to := amd64Whole[i.operands[len(i.operands)-1]]
	from := i.operands[0]
	if i.name == "push" {
		f.sp -= 8
		return problems
	}
	if to == "" || amd64Reads.MatchString(i.name) {
		return problems
	}
	old, into := f.pointer(to, sp)
	where, known := frameSpan{}, false
	switch i.name {
	case "pop":
		f.sp += 8
	case "mov":
		where, known = f.pointer(from, sp)
	case "lea":
		if memory := amd64Memory.FindStringSubmatch(from); memory != nil && memory[3] == "" {
			where, known = f.pointer(memory[2], sp)
			where = where.plus(hexadecimal(memory[1]))
		}
	case "add", "sub", "and":
		number, constant := strings.CutPrefix(from, "$")
		if !constant || !into {
			break
		}
		switch n := hexadecimal(number); {
		case i.name == "add":
			where, known = old.plus(n), true
		case i.name == "sub":
			where, known = old.plus(-n), true
		case n < 0 && n&-n == -n:
			where, known = old.roundDown(n), true
		}
	}
	complain(f.set(to, sp, where, known))
	return problems
}

// amd64Size is how many bytes of memory a store writes.
func amd64Size(i instruction) int64 {
	register := i.operands[0]
	if len(i.operands) > 1 {
		register = i.operands[len(i.operands)-2]
	}
	ends := func(suffixes ...string) bool {
		return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(i.name, s) })
	}
	switch whole, general := amd64Whole[register]; {
	case strings.HasPrefix(register, "%zmm"):
		return 64
	case strings.HasPrefix(register, "%ymm") && !ends("128"):
		return 32
	case strings.HasPrefix(register, "%xmm") && ends("ss", "movd"):
		return 4
	case strings.HasPrefix(register, "%xmm") && ends("sd", "movq", "lps", "hps"):
		return 8
	case strings.HasPrefix(register, "%xmm") || ends("128"):
		return 16
	case register == whole || !general && ends("q"):
		return 8
	case register[1] == 'e' || strings.HasSuffix(register, "d") || !general && ends("l"):
		return 4
	case strings.ContainsAny(register[len(register)-1:], "lhb") || !general && ends("b"):
		return 1
	}
	return 2
}

// hexadecimal reads 0x10, -0x10, 0xfffffffffffffff0 or nothing.
func hexadecimal(text string) int64 {
	digits, negative := strings.CutPrefix(text, "-")
	n, _ := strconv.ParseUint(strings.TrimPrefix(digits, "0x"), 16, 64)
	if negative {
		return -int64(n)
	}
	return int64(n)
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

var (
	arm64Memory = regexp.MustCompile(`^\[(\w+)(?:, (?:#(-?\d+)|(\w+.*)))?\](!?)$`)
	arm64Reads  = regexp.MustCompile(`^(st|prfm|cmp|cmn|tst|ccmp|b$|b\.|cb|tbn?z|ret|nop)`)
)

func arm64Step(f *flow, i instruction, leaves bool) (problems []string) {
	const sp = "sp"
	complain := func(problem string) {
		if problem != "" {
			problems = append(problems, problem)
		}
	}
	if leaves && f.sp != 0 {
		complain(fmt.Sprintf("the stack pointer is off by %d", f.sp))
	}
	for n, operand := range i.operands {
		memory := arm64Memory.FindStringSubmatch(operand)
		if memory == nil {
			continue
		}
		base := memory[1]
		where, ok := f.pointer(base, sp)
		if !ok {
			break
		}
		offset, _ := strconv.ParseInt(memory[2], 10, 64)
		if memory[4] == "!" {
			complain(f.set(base, sp, where.plus(offset), true))
		}
		size, store := int64(0), strings.HasPrefix(i.name, "st") && memory[3] == ""
		if store {
			size = arm64Size(i.operands[:n])
		}
		if i.operands[0] != "x29" { // the caller's frame pointer: Go has it just below the stack pointer
			complain(f.access(where.plus(offset), size, store, base == sp, 0))
		}
		if n+1 < len(i.operands) {
			step, constant := decimal(i.operands[n+1])
			complain(f.set(base, sp, where.plus(step), constant))
		}
		break
	}
	if len(i.operands) == 0 || arm64Reads.MatchString(i.name) {
		return problems
	}
	if i.name == "bl" || i.name == "blr" {
		clear(f.into)
		return problems
	}
	if i.name == "ldp" {
		delete(f.into, i.operands[1])
	}
	to := i.operands[0]
	where, known := frameSpan{}, false
	if len(i.operands) > 1 {
		from, into := f.pointer(i.operands[1], sp)
		switch {
		case !into:
		case i.name == "mov":
			where, known = from, true
		case len(i.operands) == 3 && (i.name == "add" || i.name == "sub" || i.name == "and"):
			number, constant := decimal(i.operands[2])
			if i.name == "sub" {
				number = -number
			}
			known = constant && (i.name != "and" || number < 0 && number&-number == -number)
			if i.name == "and" {
				where = from.roundDown(number)
			} else {
				where = from.plus(number)
			}
		}
	}
	complain(f.set(to, sp, where, known))
	return problems
}

// arm64Size is how many bytes the registers of a store have.
func arm64Size(registers []string) (size int64) {
	for _, r := range registers {
		if r[0] == '{' {
			size += 16 * int64(strings.Count(r, "v"))
		} else {
			size += map[byte]int64{'b': 1, 'h': 2, 'w': 4, 's': 4, 'x': 8, 'd': 8, 'q': 16}[r[0]]
		}
	}
	return size
}

// decimal reads #16, #-16 or #0x10.
func decimal(operand string) (n int64, ok bool) {
	text, ok := strings.CutPrefix(operand, "#")
	if u, err := strconv.ParseUint(text, 0, 64); err == nil {
		return int64(u), ok
	}
	n, err := strconv.ParseInt(text, 0, 64)
	return n, ok && err == nil
}
