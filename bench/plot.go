package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const theLimit = "limit: bare traffic"

// picture draws throughput against size, with a line for each contender and one for the fastest
// traffic loop of each size, in a format that gonum knows, such as svg or png. Both axes are
// logarithmic: the first cache is ten times as fast as memory, and the fastest contender ten times as
// fast as the slowest. The points are logarithms on linear axes, because gonum reserves space for
// labels in the wrong places with its LogScale.
func (r results) picture(format string) ([]byte, error) {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	plotutil.DefaultColors = plotutil.DarkColors // in addition to dashes and shapes
	p := plot.New()
	p.Title.Text = "RMSProp update, one thread"
	for _, fact := range r.machine {
		if fact.Key == "cpu" {
			p.Title.Text += ", " + string(fact.Value)
		}
	}
	p.Title.Padding = vg.Points(10)
	p.X.Label.Text = "elements, and bytes of theta, grad and s"
	p.Y.Label.Text = "GB/s (20 bytes for each element)"
	p.Legend.Top = true
	p.Legend.Padding, p.Legend.ThumbnailWidth = vg.Points(4), vg.Points(28)

	var lines []any // names, and the points of each
	points := map[string]*plotter.XYs{}
	for _, row := range limits(r.rows) {
		name := row.by
		if isPlan(name) {
			continue // plans would be too many lines
		}
		if row.kind == isLimit {
			name = theLimit
		}
		if points[name] == nil {
			points[name] = new(plotter.XYs)
			lines = append(lines, name, points[name])
		}
		x, y := math.Log2(float64(row.n)), math.Log2(row.gigabytesPerSecond())
		*points[name] = append(*points[name], plotter.XY{X: x, Y: y})
	}
	if err := plotutil.AddLinePoints(p, lines...); err != nil {
		return nil, err
	}
	p.Add(plotter.NewGrid())
	// Beyond the extremes, so that no dot lies on the frame.
	const margin = 0.2
	p.X.Min, p.X.Max = p.X.Min-margin, p.X.Max+margin
	p.Y.Min, p.Y.Max = p.Y.Min-margin, p.Y.Max+margin
	p.X.Tick.Marker = sizeTicks(r.sizes)
	var powers plot.ConstantTicks
	for at := math.Ceil(p.Y.Min); at <= p.Y.Max; at++ {
		powers = append(powers, plot.Tick{Value: at, Label: fmt.Sprint(math.Exp2(at))})
	}
	p.Y.Tick.Marker = powers

	canvas, err := draw.NewFormattedCanvas(10*vg.Inch, 6*vg.Inch, format)
	if err != nil {
		return nil, err
	}
	whole := draw.New(canvas)
	whole.SetColor(color.White)
	whole.Fill(whole.Rectangle.Path())
	// The legend is to the right of the plot, so that it covers no line. Its names begin after
	// the line samples: wherever the font is wider, they run into free space.
	const space = 10
	p.Legend.Left = true
	area := draw.Crop(whole, space, -1.15*p.Legend.Rectangle(whole).Size().X-2*space, space, -space)
	p.Legend.XOffs = p.DataCanvas(area).Size().X + space
	p.Draw(area)
	var file bytes.Buffer
	_, err = canvas.WriteTo(&file)
	return file.Bytes(), err
}

// sizeTicks marks the measured sizes and labels as many as there is room for.
func sizeTicks(sizes []int) (ticks plot.ConstantTicks) {
	const most = 9
	step := (len(sizes) + most - 1) / most
	for i, n := range sizes {
		tick := plot.Tick{Value: math.Log2(float64(n))}
		if i%step == 0 {
			tick.Label = formatCount(n) + "\n" + formatBytes(n*bytesPerElement)
		}
		ticks = append(ticks, tick)
	}
	return ticks
}
