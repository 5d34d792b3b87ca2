package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/klauspost/cpuid/v2"
	"golang.org/x/perf/benchfmt"
)

// thisMachine is what one has to know of a computer to compare times taken on it. benchstat
// compares only results with the same.
func thisMachine() []benchfmt.Config {
	var machine []benchfmt.Config
	for _, fact := range [][2]string{
		{"goos", runtime.GOOS},
		{"goarch", runtime.GOARCH},
		{"cpu", cmp.Or(strings.TrimSpace(cpuid.CPU.BrandName), "unnamed")},
		{"family", fmt.Sprintf("%d model %d", cpuid.CPU.Family, cpuid.CPU.Model)}, // some names tell little
		{"cores", strconv.Itoa(runtime.NumCPU())},
		{"caches", caches()},
		{"hugepages", hugePagePolicy()},
	} {
		if fact[1] != "" {
			machine = append(machine, benchfmt.Config{Key: fact[0], Value: []byte(fact[1]), File: true})
		}
	}
	return machine
}

// caches lists the first core's data caches, where the system is Linux.
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
	return strings.Join(found, ", ")
}

// hugePagePolicy is the word in brackets of "always [madvise] never".
func hugePagePolicy() string {
	if !useHugePages {
		return "not asked for"
	}
	_, text, _ := strings.Cut(fileText("/sys/kernel/mm/transparent_hugepage", "enabled"), "[")
	return before(text, "]")
}

func fileText(dir, name string) string {
	text, _ := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimSpace(string(text))
}

// bytesPerElement is theta, grad and s.
const bytesPerElement = 3 * 4

// fitting returns the sizes of which there is memory for that many arrays and a third left free,
// since some peers hold intermediate results as well. Where the system does not tell, that is all.
func fitting(sizes []int, arrays int, memory int) (fit []int) {
	for _, n := range sizes {
		if memory == 0 || 4*n <= memory/3*2/arrays {
			fit = append(fit, n)
		}
	}
	return fit
}

// availableMemory is in bytes, 0 where the system does not tell.
func availableMemory() (bytes int) {
	_, text, _ := strings.Cut(fileText("/proc", "meminfo"), "MemAvailable:")
	fmt.Sscanf(text, "%d kB", &bytes)
	return bytes << 10
}
