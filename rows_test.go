package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

func TestRMSPropUpdateRows(t *testing.T) {
	lists := [][]int{{}, {0}, {39}, {3, 4, 17, 39}, {39, 0, 21, 5}, {7, 8, 9, 10, 3, 4, 2, 1, 11, 12}}
	forEachISA(t, func(t *testing.T) {
		r := random(t, 16)
		for _, o := range optionSets {
			for _, width := range []int{1, 7, 16, 33} {
				for _, rows := range lists {
					d := o.allocate(40 * width)
					r.training(d)
					grad := d.grad[:len(rows)*width]
					want := d.clone()
					for i, row := range rows {
						piece := want.slice(row*width, (row+1)*width)
						o.Update(piece.theta, grad[i*width:][:width], piece.state())
					}
					o.UpdateRows(d.theta, grad, d.state(), rows, width)
					d.requireSame(t, fmt.Sprintf("%+v, rows %d of %d", o, rows, width), want)
				}
			}
		}
	})
}

// Step counts the calls, with and without BiasCorrection.
func TestRMSPropUpdateRowsSteps(t *testing.T) {
	o := GoMLX()
	r := random(t, 19)
	d := o.allocate(40)
	r.training(d)
	st, want := d.state(), d.clone()
	for step, rows := range [][]int{{1}, {2, 1}, {}, {3, 0}} {
		o.UpdateRows(d.theta, d.grad[:10*len(rows)], st, rows, 10)
		for i, row := range rows {
			piece, s := want.slice(10*row, 10*row+10), State{Step: step}
			s.MeanSquare = piece.s
			o.Update(piece.theta, d.grad[10*i:][:10], &s)
		}
		d.requireSame(t, step, want)
		if st.Step != step+1 {
			t.Errorf("Step = %d after %d calls", st.Step, step+1)
		}
	}
}

// Tables around the length at which the set of listed rows no longer fits on the stack, and a much
// longer one; unsorted, with and without a row that is listed twice.
func TestRMSPropUpdateRowsLong(t *testing.T) {
	for _, n := range []int{1 << 15, 1<<15 + 1, 1<<15 + 65, 100_003} {
		o := PyTorch()
		d := o.allocate(n)
		r := random(t, 17)
		r.training(d)
		want := d.clone()
		o.Update(want.theta, want.grad, want.state())
		rows := make([]int, n)
		grad := make([]float32, n)
		for i := range rows {
			rows[i] = i * 7919 % n // to which 7919 is prime
			grad[i] = d.grad[rows[i]]
		}
		o.UpdateRows(d.theta, grad, d.state(), rows, 1)
		d.requireSame(t, o, want)
		for _, row := range []int{0, 63, 64, 1<<15 - 1, n - 1} {
			at, last := slices.Index(rows, row), n-1
			if at == last {
				last--
			}
			replaced := rows[last]
			rows[last] = row
			err := recovered(func() { o.UpdateRows(d.theta, grad, d.state(), rows, 1) })
			if want := fmt.Sprintf("kernel: rows[%d] = %d, want each row once; rows[%d] already lists it", last, row, at); err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
			rows[last] = replaced
		}
		d.requireSame(t, "after the panic", want)
	}
}

// ---- CoalesceRows ----

func TestCoalesceRows(t *testing.T) {
	for _, test := range []struct {
		grad     []float32
		rows     []int
		width    int
		wantGrad []float32
		wantRows []int // nil: the given rows
	}{
		{nil, nil, 3, nil, nil},
		{[]float32{1, 2}, []int{5}, 2, []float32{1, 2}, nil},
		{[]float32{1, 2, 3}, []int{5, 7, 9}, 1, []float32{1, 2, 3}, nil},
		{[]float32{1, 2, 3}, []int{9, 5, 7}, 1, []float32{1, 2, 3}, nil},
		{[]float32{1, 2, 3}, []int{5, 5, 5}, 1, []float32{6}, []int{5}},
		{[]float32{1, 2, 3, 4}, []int{5, 5, 7, 7}, 1, []float32{3, 7}, []int{5, 7}},
		{[]float32{1, 2, 10, 20, 100, 200, 1000, 2000}, []int{3, 0, 3, 1}, 2, []float32{101, 202, 10, 20, 1000, 2000}, []int{3, 0, 1}},
		// In the order of the list: the first three cancel, and 1 is added after them.
		{[]float32{0x1p24, 1, -0x1p24, 1}, []int{2, 2, 2, 2}, 1, []float32{1}, []int{2}},
		{[]float32{-0x1p24, 8, 0x1p24, 1}, []int{2, 4, 2, 2}, 1, []float32{1, 8}, []int{2, 4}},
	} {
		grad, rows := slices.Clone(test.grad), slices.Clone(test.rows)
		gotGrad, gotRows := CoalesceRows(grad, rows, test.width)
		wantRows := test.wantRows
		if wantRows == nil {
			wantRows = test.rows
			if address(gotGrad) != address(grad) || len(rows) > 0 && &gotRows[0] != &rows[0] {
				t.Errorf("%+v: copied", test)
			}
		} else if address(gotGrad) == address(grad) || &gotRows[0] == &rows[0] {
			t.Errorf("%+v: in place", test)
		}
		if !slices.Equal(gotGrad, test.wantGrad) || !slices.Equal(gotRows, wantRows) {
			t.Errorf("CoalesceRows(%v, %v, %d) = %v, %v, want %v, %v", test.grad, test.rows, test.width, gotGrad, gotRows, test.wantGrad, wantRows)
		}
		if !slices.Equal(grad, test.grad) || !slices.Equal(rows, test.rows) {
			t.Errorf("%+v: what it was given has changed", test)
		}
	}
	requirePanic(t, "width = 0, want 1 or more", func() { CoalesceRows(nil, nil, 0) })
	requirePanic(t, "len(grad) = 3, want 2 (len(rows)*width)", func() { CoalesceRows(make([]float32, 3), []int{1}, 2) })
	requirePanic(t, "len(grad) = 4, want 2 (len(rows)*width)", func() { CoalesceRows(make([]float32, 4), []int{1}, 2) })
	requirePanic(t, "len(grad) = 2, want 4 (len(rows)*width)", func() { CoalesceRows(make([]float32, 2), []int{1, 2}, 2) })
}

// Computed in another way: float32 sums row by row, in the order of the list.
func TestCoalesceRowsRandom(t *testing.T) {
	r := random(t, 20)
	for range 200 {
		width, n, table := 1+r.intn(5), r.intn(60), 1+r.intn(50)
		var rows []int
		grad := make([]float32, n*width)
		for i := range grad {
			grad[i] = r.symmetric() * float32(math.Exp2(float64(r.intn(40))))
		}
		for range n {
			rows = append(rows, r.intn(table)-3)
		}
		sums, once := CoalesceRows(grad, rows, width)
		if len(sums) != len(once)*width {
			t.Fatalf("%d elements for %d rows of %d", len(sums), len(once), width)
		}
		var first []int
		for _, row := range rows {
			if !slices.Contains(first, row) {
				first = append(first, row)
			}
		}
		if !slices.Equal(once, first) {
			t.Fatalf("rows %v of %v, want %v", once, rows, first)
		}
		for i, row := range once {
			for j := range width {
				var sum float32
				for k := range rows {
					if rows[k] == row {
						sum += grad[k*width+j]
					}
				}
				requireSame(t, "sum", sums[i*width+j:][:1], []float32{sum})
			}
		}
	}
}
