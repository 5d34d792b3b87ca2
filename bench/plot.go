package main

import (
	"cmp"
	"image/color"
	"math"
	"os"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// colors can be told apart with any kind of sight (Okabe and Ito, 2008; gray in
// place of their yellow).
var colors = []color.Color{
	color.RGBA{0x80, 0x80, 0x80, 0xff}, // gray
	color.RGBA{0x00, 0x72, 0xb2, 0xff}, // blue
	color.RGBA{0xd5, 0x5e, 0x00, 0xff}, // vermilion
	color.RGBA{0x00, 0x9e, 0x73, 0xff}, // green
	color.RGBA{0xcc, 0x79, 0xa7, 0xff}, // purple
	color.RGBA{0xe6, 0x9f, 0x00, 0xff}, // orange
	color.RGBA{0x56, 0xb4, 0xe9, 0xff}, // sky
}

// writePicture draws throughput against size, a line for each runner, in a
// format that gonum knows, such as svg or png. Both axes are logarithmic:
// between the first cache and memory lies a factor of ten, as between the
// fastest runner and the slowest. The points are logarithms on linear axes,
// since gonum makes room for labels in the wrong places beside its LogScale.
func writePicture(file, format string, r report) error {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text = "RMSProp update, one thread, " + r.Machine.CPU
	p.Title.Padding = vg.Points(10)
	p.X.Label.Text = "elements, and bytes of theta, grad and s"
	p.X.Label.Padding = vg.Points(5)
	p.Y.Label.Text = "GB/s (20 bytes an element)"
	p.X.Tick.Marker, p.Y.Tick.Marker = sizeTicks(r.Rows), throughputTicks{}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xe0}, color.Gray{0xe0}
	p.Add(grid)

	legend := plot.NewLegend()
	legend.Top, legend.Left = true, true
	legend.Padding, legend.ThumbnailWidth = vg.Points(4), vg.Points(28)
	var names []string // in the order of the tables, those first that come first at some size
	for _, row := range r.Rows {
		if !slices.Contains(names, row.Name) {
			names = append(names, row.Name)
		}
	}
	for i, name := range names {
		var points plotter.XYs
		var k kind
		for _, row := range r.Rows {
			if row.Name == name {
				k = row.Kind
				points = append(points, plotter.XY{X: math.Log2(float64(row.Elements)), Y: math.Log2(row.gigabytesPerSecond())})
			}
		}
		slices.SortFunc(points, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		c := colors[i%len(colors)] // the limit, black, is the first
		line.Color, line.Width = c, vg.Points(1.8)
		dots.Color, dots.Shape, dots.Radius = c, draw.CircleGlyph{}, vg.Points(2.5)
		switch k {
		case isLimit:
			line.Color, line.Dashes = color.Black, plotutil.Dashes(1)
			p.Add(line)
			legend.Add(name, line)
			continue
		case isPeer:
			line.Width, dots.Shape = vg.Points(1), plotutil.Shape(i)
			line.Dashes = plotutil.Dashes(i / len(colors)) // none until the colors are used up
		}
		p.Add(line, dots)
		legend.Add(name, line, dots)
	}
	// Past the extremes, so that no dot lies on the frame.
	const margin = 0.2
	p.X.Min, p.X.Max = p.X.Min-margin, p.X.Max+margin
	p.Y.Min, p.Y.Max = p.Y.Min-margin, p.Y.Max+margin

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

	out, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(out); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// sizeTicks marks the sizes measured, and labels as many as there is room for.
type sizeTicks []row

func (rows sizeTicks) Ticks(min, max float64) []plot.Tick {
	var sizes []int
	for _, r := range rows {
		sizes = append(sizes, r.Elements)
	}
	slices.Sort(sizes)
	sizes = slices.Compact(sizes)
	const most = 9
	step := (len(sizes) + most - 1) / most
	ticks := make([]plot.Tick, len(sizes))
	for i, n := range sizes {
		ticks[i].Value = math.Log2(float64(n))
		if i%step == 0 {
			ticks[i].Label = formatCount(n) + "\n" + formatBytes(n*bytesPerElement)
		}
	}
	return ticks
}

// throughputTicks marks 1, 2 and 5 times the powers of ten.
type throughputTicks struct{}

func (throughputTicks) Ticks(min, max float64) []plot.Tick {
	var ticks []plot.Tick
	for decade := math.Pow(10, math.Floor(min*math.Log10(2))); math.Log2(decade) <= max; decade *= 10 {
		for _, x := range []float64{decade, 2 * decade, 5 * decade} {
			if at := math.Log2(x); min <= at && at <= max {
				ticks = append(ticks, plot.Tick{Value: at, Label: strconv.FormatFloat(x, 'g', -1, 64)})
			}
		}
	}
	return ticks
}
