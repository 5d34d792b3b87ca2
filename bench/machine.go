package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/cpuid/v2"
)

// A machine is what one has to know of a computer to compare times taken on it.
type machine struct {
	CPU       string `json:"cpu"`
	Cores     int    `json:"cores"` // that this process may use
	Caches    string `json:"caches"`
	OS        string `json:"os"`
	Arch      string `json:"arch"`
	Go        string `json:"go"`
	HugePages string `json:"huge_pages,omitempty"` // the system's policy, on Linux
}

func thisMachine() machine {
	return machine{
		CPU:       cpuName(),
		Cores:     runtime.NumCPU(),
		Caches:    caches(),
		OS:        runtime.GOOS,
		Arch:      runtime.GOARCH,
		Go:        runtime.Version(),
		HugePages: hugePagePolicy(),
	}
}

func (m machine) write(w io.Writer) {
	cores := "1 core"
	if m.Cores > 1 {
		cores = fmt.Sprint(m.Cores, " cores")
	}
	fmt.Fprintf(w, "CPU        %s, %s\n", m.CPU, cores)
	fmt.Fprintf(w, "caches     %s\n", m.Caches)
	fmt.Fprintf(w, "system     %s/%s, %s\n", m.OS, m.Arch, m.Go)
	if m.HugePages != "" {
		fmt.Fprintf(w, "huge pages %s\n", m.HugePages)
	}
}

func cpuName() string {
	if name := strings.TrimSpace(cpuid.CPU.BrandName); name != "" {
		return name
	}
	return "unnamed " + runtime.GOARCH
}

// caches lists the first core's data caches. Linux knows them on every
// architecture, cpuid on x86.
func caches() string {
	var found []string
	dirs, _ := filepath.Glob("/sys/devices/system/cpu/cpu0/cache/index*")
	for _, dir := range dirs {
		level, kind, size := fileText(dir, "level"), fileText(dir, "type"), fileText(dir, "size")
		kibibytes, err := strconv.Atoi(strings.TrimSuffix(size, "K"))
		if err != nil || kind == "Instruction" {
			continue
		}
		if level == "1" {
			level = "1d"
		}
		found = append(found, fmt.Sprintf("L%s %s", level, formatBytes(kibibytes<<10)))
	}
	if found == nil {
		for _, cache := range []struct {
			name string
			size int
		}{{"L1d", cpuid.CPU.Cache.L1D}, {"L2", cpuid.CPU.Cache.L2}, {"L3", cpuid.CPU.Cache.L3}} {
			if cache.size > 0 {
				found = append(found, fmt.Sprintf("%s %s", cache.name, formatBytes(cache.size)))
			}
		}
	}
	if found == nil {
		return "unknown"
	}
	return strings.Join(found, ", ")
}

// hugePagePolicy is the word in brackets of "always [madvise] never".
func hugePagePolicy() string {
	text := fileText("/sys/kernel/mm/transparent_hugepage", "enabled")
	_, text, _ = strings.Cut(text, "[")
	policy, _, _ := strings.Cut(text, "]")
	return policy
}

func fileText(dir, name string) string {
	text, _ := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimSpace(string(text))
}

// availableMemory is in bytes, and ok where the system tells.
func availableMemory() (bytes uint64, ok bool) {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if n, _ := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &bytes); n == 1 {
			return bytes << 10, true
		}
	}
	return 0, false
}

// bytesPerElement is theta, grad and s.
const bytesPerElement = 3 * 4

// fitting halves each size until that many sets of three slices leave a third of
// the memory free, since some peers hold intermediate results as well, and drops
// sizes that have become equal.
func fitting(sizes []int, sets int, memory uint64) []int {
	most := memory / 3 * 2 / uint64(sets*bytesPerElement)
	var fit []int
	for _, n := range sizes {
		for n > 1 && uint64(n) > most {
			n /= 2
		}
		if !slices.Contains(fit, n) {
			fit = append(fit, n)
		}
	}
	return fit
}

// binaryUnits are the suffixes of counts and sizes.
var binaryUnits = []struct {
	suffix string
	shift  int
}{{"Gi", 30}, {"Mi", 20}, {"Ki", 10}}

// parseSizes reads counts such as "1Ki,100,64Mi".
func parseSizes(list string) ([]int, error) {
	var sizes []int
	for word := range strings.SplitSeq(list, ",") {
		digits, shift := strings.TrimSpace(word), 0
		for _, unit := range binaryUnits {
			if rest, ok := strings.CutSuffix(digits, unit.suffix); ok {
				digits, shift = rest, unit.shift
			}
		}
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 || n > math.MaxInt/bytesPerElement>>shift {
			return nil, fmt.Errorf("size %q: want a count of elements such as 1000, 32Ki or 64Mi", word)
		}
		sizes = append(sizes, n<<shift)
	}
	return sizes, nil
}

// formatCount writes 65536 as 64Ki, and what is no whole number of a unit in
// digits, so that parseSizes reads it back.
func formatCount(n int) string {
	for _, unit := range binaryUnits {
		if n > 0 && n%(1<<unit.shift) == 0 {
			return fmt.Sprint(n>>unit.shift, unit.suffix)
		}
	}
	return strconv.Itoa(n)
}

func formatSizes(sizes []int) string {
	words := make([]string, len(sizes))
	for i, n := range sizes {
		words[i] = formatCount(n)
	}
	return strings.Join(words, ",")
}

// formatBytes rounds to a tenth of the unit.
func formatBytes[N int | uint64](n N) string {
	for _, unit := range binaryUnits {
		if n >= 1<<unit.shift {
			x := strconv.FormatFloat(float64(n)/float64(N(1)<<unit.shift), 'f', 1, 64)
			return strings.TrimSuffix(x, ".0") + " " + unit.suffix + "B"
		}
	}
	return fmt.Sprint(n, " bytes")
}
