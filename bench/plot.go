package main

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// colors can be told apart with any kind of sight (Okabe and Ito, 2008; gray in
// place of their yellow).
var colors = []color.RGBA{
	{0x00, 0x72, 0xb2, 0xff}, // blue
	{0xd5, 0x5e, 0x00, 0xff}, // vermilion
	{0x00, 0x9e, 0x73, 0xff}, // green
	{0xcc, 0x79, 0xa7, 0xff}, // purple
	{0xe6, 0x9f, 0x00, 0xff}, // orange
	{0x56, 0xb4, 0xe9, 0xff}, // sky
	{0x80, 0x80, 0x80, 0xff}, // gray
}

const theLimit = "limit: bare traffic"

// drawPicture draws throughput against size, a line for each contender and one for
// the fastest traffic loop of each size, in a format that gonum knows, such as svg
// or png. Both axes are logarithmic: between the first cache and memory lies a
// factor of ten, as between the fastest contender and the slowest. The points are
// logarithms on linear axes, since gonum makes room for labels in the wrong places
// beside its LogScale.
func drawPicture(w io.Writer, format string, r results) error {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text = "RMSProp update, one thread"
	for _, fact := range r.machine {
		if fact.Key == "cpu" {
			p.Title.Text += ", " + string(fact.Value)
		}
	}
	p.Title.Padding = vg.Points(10)
	p.X.Label.Text = "elements, and bytes of theta, grad and s"
	p.Y.Label.Text = "GB/s (20 bytes an element)"
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xe0}, color.Gray{0xe0}
	p.Add(grid)
	legend := plot.NewLegend()
	legend.Top, legend.Left = true, true
	legend.Padding, legend.ThumbnailWidth = vg.Points(4), vg.Points(28)

	var names []string
	points := map[string]plotter.XYs{}
	for _, row := range limits(r.rows) {
		name := row.by
		if strings.Contains(name, ":") {
			continue // a plan: too much for a picture
		}
		if row.kind == isLimit {
			name = theLimit
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		points[name] = append(points[name], plotter.XY{X: math.Log2(float64(row.n)), Y: math.Log2(row.gigabytesPerSecond())})
	}
	for i, name := range names {
		line, dots, err := plotter.NewLinePoints(points[name])
		if err != nil {
			return err
		}
		line.Width, dots.Radius = vg.Points(1.5), vg.Points(2.5)
		line.Color, dots.Color, dots.Shape = colors[i%len(colors)], colors[i%len(colors)], plotutil.Shape(i)
		line.Dashes = plotutil.Dashes(i / len(colors)) // none until the colors are used up
		if name == theLimit {
			line.Color, line.Dashes, dots.Radius = color.Black, plotutil.Dashes(1), 0
		}
		p.Add(line, dots)
		legend.Add(name, line, dots)
	}
	// Past the extremes, so that no dot lies on the frame.
	const margin = 0.2
	p.X.Min, p.X.Max = p.X.Min-margin, p.X.Max+margin
	p.Y.Min, p.Y.Max = p.Y.Min-margin, p.Y.Max+margin
	p.X.Tick.Marker = plot.ConstantTicks(sizeTicks(r.rows))
	var powers plot.ConstantTicks
	for at := math.Ceil(p.Y.Min); at <= p.Y.Max; at++ {
		powers = append(powers, plot.Tick{Value: at, Label: fmt.Sprint(math.Exp2(at))})
	}
	p.Y.Tick.Marker = powers

	// The legend stands beside the plot, where it covers no line.
	const width, height = 10 * vg.Inch, 6 * vg.Inch
	canvas, err := draw.NewFormattedCanvas(width, height, format)
	if err != nil {
		return err
	}
	whole := draw.New(canvas)
	whole.SetColor(color.White)
	whole.Fill(whole.Rectangle.Path())
	box := legend.Rectangle(whole)
	beside := box.Max.X - box.Min.X + vg.Points(20)
	p.Draw(draw.Crop(whole, vg.Points(10), -beside-vg.Points(10), vg.Points(10), -vg.Points(10)))
	legend.Draw(draw.Crop(whole, width-beside, -vg.Points(10), 0, -vg.Points(45)))
	_, err = canvas.WriteTo(w)
	return err
}

// sizeTicks marks the sizes measured, and labels as many as there is room for.
func sizeTicks(rows []row) (ticks []plot.Tick) {
	var sizes []int
	for _, r := range rows {
		sizes = append(sizes, r.n)
	}
	slices.Sort(sizes)
	sizes = slices.Compact(sizes)
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
