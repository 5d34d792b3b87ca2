package kernel

// normBlock is how many elements are summed together.
const normBlock = 4096

// blockSums sets sums[i] to the sum of the squares in block i of x.
func blockSums(sums []float64, x []float32) {
	for i := range sums {
		block := x[i*normBlock : min((i+1)*normBlock, len(x))]
		var lanes [16]float64
		for j, v := range block {
			lanes[j%16] += float64(float64(v) * float64(v))
		}
		for width := 8; width > 0; width /= 2 {
			for j := range width {
				lanes[j] += lanes[j+width]
			}
		}
		sums[i] = lanes[0]
	}
}

// SumSquares returns the sum of the squares of x.
func SumSquares(x []float32) float64 {
	sums := make([]float64, (len(x)+normBlock-1)/normBlock)
	blockSums(sums, x)
	total := 0.0
	for _, sum := range sums {
		total += sum
	}
	return total
}
