package kernel

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// arm64Vectors are the vector instructions that the arm64 files may have as
// WORDs: what is fixed in their bits (Arm Architecture Reference Manual for
// A-profile, C7.2), and the registers that they name, with the arrangement of
// their lanes: Rd in bits 0 to 4, Rn in 5 to 9, Rm in 16 to 20.
var arm64Vectors = []struct {
	name        string
	mask, fixed uint32
	operands    string
}{
	{"fadd", 0xffe0fc00, 0x4e20d400, "v%d.4s, v%d.4s, v%d.4s"},
	{"fsub", 0xffe0fc00, 0x4ea0d400, "v%d.4s, v%d.4s, v%d.4s"},
	{"fmul", 0xffe0fc00, 0x6e20dc00, "v%d.4s, v%d.4s, v%d.4s"},
	{"fdiv", 0xffe0fc00, 0x6e20fc00, "v%d.4s, v%d.4s, v%d.4s"},
	{"fmax", 0xffe0fc00, 0x4e20f400, "v%d.4s, v%d.4s, v%d.4s"},
	{"fmin", 0xffe0fc00, 0x4ea0f400, "v%d.4s, v%d.4s, v%d.4s"},
	{"fsqrt", 0xfffffc00, 0x6ea1f800, "v%d.4s, v%d.4s"},
	{"fabs", 0xfffffc00, 0x4ea0f800, "v%d.4s, v%d.4s"},
	{"fneg", 0xfffffc00, 0x6ea0f800, "v%d.4s, v%d.4s"},
	{"fcmeq", 0xfffffc00, 0x4ea0d800, "v%d.4s, v%d.4s, #0"},
	{"fcmge", 0xffe0fc00, 0x6e20e400, "v%d.4s, v%d.4s, v%d.4s"},
	{"cmgt", 0xffe0fc00, 0x4ea03400, "v%d.4s, v%d.4s, v%d.4s"},
	{"and", 0xffe0fc00, 0x4e201c00, "v%d.16b, v%d.16b, v%d.16b"},
	{"add", 0xfffffc00, 0x91000000, "x%d, x%d, #0"},
	{"ldr", 0xfffffc00, 0x3dc00000, "q%d, [x%d]"},
	{"str", 0xfffffc00, 0x3d800000, "q%d, [x%d]"},
	{"fcmgt", 0xffe0fc00, 0x6ea0e400, "v%d.4s, v%d.4s, v%d.4s"},
	{"fadd", 0xffe0fc00, 0x4e60d400, "v%d.2d, v%d.2d, v%d.2d"},
	{"faddp", 0xfffffc00, 0x7e70d800, "d%d, v%d.2d"},
	{"fcvtl", 0xfffffc00, 0x0e617800, "v%d.2d, v%d.2s"},
	{"fcvtl2", 0xfffffc00, 0x4e617800, "v%d.2d, v%d.4s"},
	{"bic", 0xffe0fc00, 0x4e601c00, "v%d.16b, v%d.16b, v%d.16b"},
}

// disassemble returns an instruction as GNU's assembler writes it.
func disassemble(word uint32) string {
	for _, v := range arm64Vectors {
		if word&v.mask != v.fixed {
			continue
		}
		registers := []any{word & 31, word >> 5 & 31, word >> 16 & 31}
		return v.name + " " + fmt.Sprintf(v.operands, registers[:strings.Count(v.operands, "%")]...)
	}
	return fmt.Sprintf("unknown instruction %#08x", word)
}

// The bytes of each WORD are those of the instruction in its comment, so that a
// changed comment cannot land without "go generate".
func TestWords(t *testing.T) {
	for _, file := range []string{"kernel_arm64.h", "norm_arm64.s"} {
		t.Run(file, func(t *testing.T) { testWords(t, file) })
	}
	// Where there are none they cannot be wrong.
	for _, file := range []string{"kernel_arm64.s", "family_arm64.s", "family_neon.h"} {
		if source, err := os.ReadFile(file); err != nil || strings.Contains(string(source), "WORD") {
			t.Errorf("%s has WORDs that no test trials at, or %v", file, err)
		}
	}
}

func testWords(t *testing.T, file string) {
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^(?:\tWORD \$0x([0-9a-f]{8})|#define [A-Z0-9]+\(.*\) +WORD \$\(0x([0-9a-f]{8}) .*?\)) +(?:\\ )?// (.*)$`)
	words := 0
	for i, line := range strings.Split(string(source), "\n") {
		if comment := strings.Index(line, "//"); !strings.Contains(line, "WORD") || comment >= 0 && comment < strings.Index(line, "WORD") {
			continue
		}
		words++
		match := form.FindStringSubmatch(line)
		if match == nil {
			t.Errorf("line %d: %q: want a WORD of eight digits and its instruction as a comment", i+1, line)
			continue
		}
		word, err := strconv.ParseUint(match[1]+match[2], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		if got := disassemble(uint32(word)); got != match[3] {
			t.Errorf("line %d: the bytes are of %q, the comment says %q", i+1, got, match[3])
		}
	}
	if words == 0 {
		t.Error("no WORDs")
	}
}
