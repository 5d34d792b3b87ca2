package kernel

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

func TestISAs(t *testing.T) {
	names := ISAs()
	if names[len(names)-1] != "generic" {
		t.Errorf("ISAs() = %q: the last must be generic", names)
	}
	if os.Getenv("KERNEL_ISA") == "" && ISA() != names[0] {
		t.Errorf("ISA() = %q, want the best of %q", ISA(), names)
	}
	order := binary.NativeEndian.AppendUint16(nil, 1)
	t.Logf("%s/%s, byte order %s: %s", runtime.GOOS, runtime.GOARCH,
		map[byte]string{1: "little", 0: "big"}[order[0]], strings.Join(names, " "))
	names[0] = "changed"
	if ISAs()[0] == "changed" {
		t.Error("ISAs() hands out its own memory")
	}
}

func TestSetISA(t *testing.T) {
	useISA(t, "generic")
	for _, name := range []string{"sse9", "AVX2", "generic "} {
		err := SetISA(name)
		if err == nil || !strings.Contains(err.Error(), strings.Join(ISAs(), ", ")) {
			t.Errorf("SetISA(%q) = %v, want an error that lists %q", name, err, ISAs())
		}
		if ISA() != "generic" {
			t.Errorf("SetISA(%q) failed and changed ISA to %q", name, ISA())
		}
	}
}

// TestEnvironment starts this test binary again, because KERNEL_ISA is read at its start.
func TestEnvironment(t *testing.T) {
	all := strings.Join(ISAs(), ", ")
	if want := os.Getenv("KERNEL_TEST_WANT_ISA"); want != "" {
		fmt.Printf("of %s\n", all)
		if ISA() != want {
			t.Fatalf("ISA() = %q, want %q", ISA(), want)
		}
		return
	}
	start := func(name, want string) (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestEnvironment$")
		cmd.Env = append(os.Environ(), "KERNEL_ISA="+name, "KERNEL_TEST_WANT_ISA="+want)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := start("", ISAs()[0])
	if _, exited := errorAs[*exec.ExitError](err); err != nil && !exited ||
		strings.HasPrefix(out, "of ") && !strings.HasPrefix(out, "of "+all+"\n") {
		t.Skip("an emulator runs this test, but not what it starts:", err)
	}
	if err != nil {
		t.Errorf("KERNEL_ISA empty: %v\n%s", err, out)
	}
	for _, name := range ISAs() {
		if out, err := start(name, name); err != nil {
			t.Errorf("KERNEL_ISA=%s: %v\n%s", name, err, out)
		}
	}
	last := ISAs()[len(ISAs())-1]
	for list, want := range map[string]string{
		"sse9":                      ISAs()[0], // as if it were not set
		"sse9, " + last:             last,
		last + "," + ISAs()[0]:      last, // the list's order counts
		",,sse9,AVX2," + last + ",": last,
	} {
		if out, err := start(list, want); err != nil {
			t.Errorf("KERNEL_ISA=%s: %v\n%s", list, err, out)
		} else if !strings.HasPrefix(out, "of "+all+"\nPASS\n") {
			t.Errorf("KERNEL_ISA=%s: printed %q", list, out)
		}
	}
}
