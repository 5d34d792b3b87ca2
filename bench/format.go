package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A table's first column is on the left, the others on the right.
type table [][]string

func (t table) write(w io.Writer) {
	widths := map[int]int{}
	for _, cells := range t {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, cells := range t {
		line := fmt.Sprintf("%-*s", widths[0], cells[0])
		for i, cell := range cells[1:] {
			line += fmt.Sprintf("  %*s", widths[i+1], cell)
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

// digits writes three significant digits, or all before the point.
func digits(x float64) string {
	if x >= 100 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
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

// formatBytes rounds to a tenth of the unit.
func formatBytes(n int) string {
	for _, unit := range binaryUnits {
		if n >= 1<<unit.shift {
			x := strconv.FormatFloat(float64(n)/float64(int(1)<<unit.shift), 'f', 1, 64)
			return strings.TrimSuffix(x, ".0") + " " + unit.suffix + "B"
		}
	}
	return fmt.Sprint(n, " bytes")
}
