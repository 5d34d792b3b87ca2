package kernel

// A partition divides the elements of all tensors into units of work.
type partition struct {
	pieces []piece
	ends   []int // of each unit, in pieces

	workers int // that the units are for
	dense   struct{ pieces, units int }
}

// A piece is the elements of a tensor from start to end or, if it is of a table,
// those of the table's gradient.
type piece struct {
	tensor     int32
	table      int32 // its place in the step's tables, or notATable
	start, end int
}

const notATable = -1

// Units are small enough that the last one does not keep the others waiting
// for long, and large enough that claiming one, some 100 ns, does not count.
const (
	unitsPerWorker = 32
	smallestUnit   = 4 << 10
	largestUnit    = 4 * chunk
	blocksPerUnit  = largestUnit / normBlock
)

// share is the number of elements that are worth a goroutine. Starting one and waiting for
// it takes a few µs.
const share = 16 << 10

func unitSize(total, workers int) int {
	if workers == 1 {
		return total + 1
	}
	return min(max(total/workers/unitsPerWorker, smallestUnit), largestUnit)
}

// units returns the number of units.
func (p *partition) units() int { return len(p.ends) }

// unit returns the pieces of unit i.
func (p *partition) unit(i int) []piece {
	start := 0
	if i > 0 {
		start = p.ends[i-1]
	}
	return p.pieces[start:p.ends[i]]
}

// divide divides the tensors, in their order in memory, into units of at least size
// elements, except the last one. It divides a tensor only at the start of a cache line of
// theta, so tensors that share a line get the same worker. A table, whose rows differ from step
// to step, gets an empty piece here.
func (p *partition) divide(params []Param, order []int32, size int) {
	p.pieces, p.ends = p.pieces[:0], p.ends[:0]
	filled := 0 // elements of the unit so far
	for _, i := range order {
		theta := params[i].Theta
		if params[i].Width != 0 {
			theta = nil
		}
		start, _ := extent(theta)
		first := int(-start%lineSize) / 4 // the first element that begins a line
		at := 0
		for {
			next := at + max(size-filled, 0)
			next = first + max(next-first+lineFloat-1, 0)/lineFloat*lineFloat
			if next >= len(theta) {
				break
			}
			if next > at { // a tensor's first piece is the one that begins at 0
				p.pieces = append(p.pieces, piece{i, notATable, at, next})
			}
			p.close()
			at, filled = next, 0
		}
		p.pieces = append(p.pieces, piece{i, notATable, at, len(theta)})
		filled += len(theta) - at
	}
	p.close()
	p.dense.pieces, p.dense.units = len(p.pieces), len(p.ends)
}

// close ends a unit.
func (p *partition) close() { p.ends = append(p.ends, len(p.pieces)) }

// addTables replaces the last step's units for tables by those of this step.
func (p *partition) addTables(tables []table, size int) {
	p.pieces, p.ends = p.pieces[:p.dense.pieces], p.ends[:p.dense.units]
	filled := 0
	for i := range tables {
		t := &tables[i]
		for at := 0; at < len(t.grad); {
			end := min(at+size-filled, len(t.grad))
			p.pieces = append(p.pieces, piece{t.tensor, int32(i), at, end})
			filled += end - at
			if filled == size {
				p.close()
				filled = 0
			}
			at = end
		}
	}
	if filled > 0 {
		p.close()
	}
}
