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

// thisMachine returns the properties of this machine that times depend on. benchstat compares only
// results with the same properties.
func thisMachine() []benchfmt.Config {
	var machine []benchfmt.Config
	for _, fact := range [][2]string{
		{"goos", runtime.GOOS},
		{"goarch", runtime.GOARCH},
		{"cpu", cmp.Or(strings.TrimSpace(cpuid.CPU.BrandName), "unnamed")},
		{"family", fmt.Sprintf("%d model %d", cpuid.CPU.Family, cpuid.CPU.Model)}, // some names say little
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

// caches lists the first core's data caches, on Linux.
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

// hugePagePolicy returns the word in brackets of "always [madvise] never".
func hugePagePolicy() string {
	if !useHugePages {
		return "off"
	}
	_, text, _ := strings.Cut(fileText("/sys/kernel/mm/transparent_hugepage", "enabled"), "[")
	return before(text, "]")
}

func fileText(dir, name string) string {
	text, _ := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimSpace(string(text))
}

// bytesPerElement is the size of an element of theta, grad and s together.
const bytesPerElement = 3 * 4

// fitting returns the sizes for which that many arrays fit into two thirds of the memory; some peers
// need the last third for intermediate results. If memory is 0, the size is unknown and all fit.
func fitting(sizes []int, arrays int, memory int) (fit []int) {
	for _, n := range sizes {
		if memory == 0 || 4*n <= memory/3*2/arrays {
			fit = append(fit, n)
		}
	}
	return fit
}

// availableMemory returns the available memory in bytes, or 0 if the system does not say.
func availableMemory() (bytes int) {
	_, text, _ := strings.Cut(fileText("/proc", "meminfo"), "MemAvailable:")
	fmt.Sscanf(text, "%d kB", &bytes)
	return bytes << 10
}
