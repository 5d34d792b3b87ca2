package kernel

import (
	"fmt"
	"slices"
)

// UpdateRows takes one step on some rows of a table, such as an embedding of which a
// batch uses few. theta and the state consist of rows of width elements; row i of
// grad updates their row rows[i], with the bits that Update gives for that row. All
// other rows stay as they are: neither their means and momentum nor their theta
// decay. TensorFlow calls this the sparse update. A listed row with a gradient of
// zero does decay.
//
// [CoalesceRows] adds up the gradients of rows that are listed more than once.
// Sorted rows are fastest, because neighbors take one step together. In
// [Optimizer.Step], a Param with Rows does all of this beside other tensors.
//
// st.Step counts the calls. With BiasCorrection every row uses that count, so the
// means of a row that is first used in a late call are not corrected for their
// start.
//
// With FirstMoment this is known as lazy Adam. A row that is not listed keeps its
// corrected means. torch.optim.SparseAdam, which adds its eps as EpsHat does, keeps the
// means before the correction: both agree closely after some 1/(1-Rho) calls.
//
// UpdateRows panics with an [*ArgumentError], before it writes anything, if Update
// would, or if a row is out of range or listed twice. It allocates only if rows is
// unsorted and has a row from 32,768 on: one bit a row, to find duplicates.
func (r *RMSProp) UpdateRows(theta, grad []float32, st *State, rows []int, width int) {
	if floatMode() != defaultFloatMode {
		inDefaultFloatMode(func() { r.UpdateRows(theta, grad, st, rows, width) })
		return
	}
	wrong := r.check(nil).table(&argumentRows, len(theta), len(grad), rows, width).once(rows)
	if wrong = r.checkState(wrong, st, len(theta), &argumentNames); !tensorApart(theta, grad, st) {
		wrong = wrong.tensorOverlaps(theta, grad, st)
	}
	wrong.panic()
	var k coeffs
	k.round(r, 1, st.Step+1)
	all, t := k.call(theta, grad, st), table{width: width, rows: rows}
	for at := 0; at < len(grad); {
		part := t.neighbors(&all, at, len(grad))
		at += part.n
		part.run(part.n)
	}
	st.Step++
}

// A table is a tensor whose gradient holds some of its rows, each once.
type table struct {
	tensor int32
	width  int
	rows   []int
	grad   []float32
}

// neighbors returns the step on the elements of the gradient from at up to end, as far
// as their rows are neighbors in the table. all is the step on the table and the
// whole gradient.
func (t *table) neighbors(all *call, at, end int) call {
	row := at / t.width
	first := t.rows[row]*t.width + at%t.width
	stop := (row + 1) * t.width
	for ; stop < end && t.rows[row+1] == t.rows[row]+1; row++ {
		stop += t.width
	}
	return all.part(first, at, min(stop, end)-at)
}

// part returns x[start:end], or nil if x is empty.
func part(x []float32, start, end int) []float32 {
	if len(x) == 0 {
		return nil
	}
	return x[start:end]
}

// CoalesceRows adds up the gradients of rows that are listed more than once, as for a
// word that occurs twice in a batch. Row i of grad, of width elements, belongs to
// row rows[i]. The result is for [RMSProp.UpdateRows]. Sums are float32 sums in the
// order of rows, and the result lists the rows in the order of their first
// occurrence, so the bits are the same everywhere.
//
// CoalesceRows does not change its arguments. It returns grad and rows themselves if
// no row is listed twice, and new slices otherwise. It panics with an
// [*ArgumentError] if width is not positive or grad does not have a row for each
// of rows.
func CoalesceRows(grad []float32, rows []int, width int) (sums []float32, once []int) {
	if floatMode() != defaultFloatMode {
		inDefaultFloatMode(func() { sums, once = CoalesceRows(grad, rows, width) })
		return sums, once
	}
	var wrong *ArgumentError
	wrong.width(&argumentRows, width).panic()
	wrong.gradient(&argumentRows, len(grad), rows, width).panic()
	if increasing(rows) {
		return grad, rows
	}
	place := make(map[int]int, len(rows)) // of a row in the result
	for _, row := range rows {
		if _, listed := place[row]; !listed {
			place[row] = len(place)
		}
	}
	if len(place) == len(rows) {
		return grad, rows
	}
	sums, once = make([]float32, 0, len(place)*width), make([]int, 0, len(place))
	for i, row := range rows {
		more := grad[i*width:][:width]
		if at := place[row]; at < len(once) {
			sum := sums[at*width:][:width]
			for j, g := range more {
				sum[j] += g
			}
		} else {
			sums, once = append(sums, more...), append(once, row)
		}
	}
	return sums, once
}

// rowSums adds up rows that are listed twice, as CoalesceRows does. It reuses its memory.
type rowSums struct {
	place []int32 // of a row of the table in the sum, from 1; all 0 between calls
	sums  []float32
	once  []int
}

func (r *rowSums) reset() { r.sums, r.once = r.sums[:0], r.once[:0] }

// add returns the sums for a table of n rows, and reports whether there is
// anything to add.
func (r *rowSums) add(grad []float32, rows []int, width, n int) (sums []float32, once []int, added bool) {
	if increasing(rows) {
		return nil, nil, false
	}
	r.place = slices.Grow(r.place[:0], n)[:n]
	defer func() {
		for _, row := range rows {
			r.place[row] = 0
		}
	}()
	distinct := int32(0)
	for _, row := range rows {
		if r.place[row] == 0 {
			distinct++
			r.place[row] = distinct
		}
	}
	if int(distinct) == len(rows) {
		return nil, nil, false
	}
	first, begin := len(r.once), len(r.sums)
	r.sums = slices.Grow(r.sums, int(distinct)*width)
	for i, row := range rows {
		more := grad[i*width:][:width]
		if at := int(r.place[row]) - 1; at < len(r.once)-first {
			sum := r.sums[begin+at*width:][:width]
			for j, g := range more {
				sum[j] += g
			}
		} else {
			r.sums, r.once = append(r.sums, more...), append(r.once, row)
		}
	}
	return r.sums[begin:], r.once[first:], true
}

func increasing(rows []int) bool {
	for i := 1; i < len(rows); i++ {
		if rows[i] <= rows[i-1] {
			return false
		}
	}
	return true
}

// ---- Checks ----

// rowNames are the names of the arguments of a step on rows in messages.
type rowNames struct{ theta, grad, rows, width string }

var (
	argumentRows = rowNames{"theta", "grad", "rows", "width"}
	fieldRows    = rowNames{"Theta", "Grad", "Rows", "Width"}
)

func (e *ArgumentError) width(names *rowNames, width int) *ArgumentError {
	if width < 1 {
		return e.addf(names.width, width, "1 or more")
	}
	return e
}

// gradient checks that there is a row of width elements for each of rows.
func (e *ArgumentError) gradient(names *rowNames, n int, rows []int, width int) *ArgumentError {
	if n%width != 0 || n/width != len(rows) {
		return e.addf(names.grad, Length(n), "%d (len(%s)*%s)", len(rows)*width, names.rows, names.width)
	}
	return e
}

// table checks a step on rows of a table of n elements.
func (e *ArgumentError) table(names *rowNames, n, gradient int, rows []int, width int) *ArgumentError {
	if width < 1 {
		return e.width(names, width)
	}
	if n%width != 0 {
		e = e.addf(names.theta, Length(n), "a multiple of %s = %d", names.width, width)
	}
	e = e.gradient(names, gradient, rows, width)
	for i, row := range rows {
		if row < 0 || row >= n/width {
			return e.addf(fmt.Sprintf("%s[%d]", names.rows, i), row, "a row of %s, in [0, %d)", names.theta, n/width)
		}
	}
	return e
}

// once checks that no row is listed twice, unless something is already wrong. Sorted rows
// need only one pass.
func (e *ArgumentError) once(rows []int) *ArgumentError {
	if e != nil || increasing(rows) {
		return e
	}
	var few [512]uint64
	seen := few[:]
	if n := slices.Max(rows) + 1; n > 64*len(few) {
		seen = make([]uint64, (n+63)/64)
	}
	for i, r := range rows {
		bit := uint64(1) << (r % 64)
		if seen[r/64]&bit != 0 {
			return e.addf(fmt.Sprintf("rows[%d]", i), r, "each row once; rows[%d] already lists it", slices.Index(rows, r))
		}
		seen[r/64] |= bit
	}
	return e
}
