package digits

import (
	"fmt"
	"io"
	"time"
)

// A Training is the result of a training.
type Training struct {
	Name      string    // of the optimizer
	Losses    []float64 // mean over the batches of each epoch
	Accuracy  float64   // in the end, on the images held out
	Time      time.Duration
	Optimizer time.Duration // of that time; 0: not measured
}

// Print writes the trainings side by side: a line for each epoch, then the results.
func Print(w io.Writer, trainings ...*Training) {
	line := func(name string, cell func(t *Training) string) {
		fmt.Fprintf(w, "%-14s", name)
		for _, t := range trainings {
			fmt.Fprintf(w, "%22s", cell(t))
		}
		fmt.Fprintln(w)
	}
	line("", func(t *Training) string { return t.Name })
	for epoch := range trainings[0].Losses {
		line(fmt.Sprintf("loss, epoch %d", epoch+1), func(t *Training) string { return fmt.Sprintf("%.4f", t.Losses[epoch]) })
	}
	line("test accuracy", func(t *Training) string { return fmt.Sprintf("%.2f%%", 100*t.Accuracy) })
	line("time", func(t *Training) string { return t.Time.Round(time.Millisecond).String() })
	if trainings[0].Optimizer == 0 {
		return
	}
	line("in optimizer", func(t *Training) string {
		return fmt.Sprintf("%v, %.1f%%", t.Optimizer.Round(100*time.Microsecond), 100*t.Optimizer.Seconds()/t.Time.Seconds())
	})
}
