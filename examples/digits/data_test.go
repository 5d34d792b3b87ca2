package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const (
	trainImages = "train-images-idx3-ubyte"
	trainLabels = "train-labels-idx1-ubyte"
	testImages  = "t10k-images-idx3-ubyte"
	testLabels  = "t10k-labels-idx1-ubyte"
)

// pictures returns the four files of a data set of images of 3x4 pixels, where
// the pixel numbered as the label is the brightest.
func pictures() map[string][]byte {
	files := map[string][]byte{}
	for prefix, count := range map[string]int{"train": 200, "t10k": 50} {
		images := idx(0x803, count, 3, 4)
		labels := idx(0x801, count)
		for i := range count {
			label := i * 7 % 10
			for k := range 12 {
				pixel := byte((i*31 + k*53) % 90)
				if k == label {
					pixel = 255
				}
				images = append(images, pixel)
			}
			labels = append(labels, byte(label))
		}
		files[prefix+"-images-idx3-ubyte"] = images
		files[prefix+"-labels-idx1-ubyte"] = labels
	}
	return files
}

func idx(magic uint32, lengths ...int) []byte {
	header := binary.BigEndian.AppendUint32(nil, magic)
	for _, length := range lengths {
		header = binary.BigEndian.AppendUint32(header, uint32(length))
	}
	return header
}

func zip(data []byte) []byte {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Write(data)
	w.Close()
	return zipped.Bytes()
}

// write puts the files into a new folder.
func write(t *testing.T, files map[string][]byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestIDX(t *testing.T) {
	var hash string
	for _, test := range []struct {
		name   string
		rename func(string) string
		change func([]byte) []byte
	}{
		{"plain", func(n string) string { return n }, bytes.Clone},
		{"gzipped", func(n string) string { return n + ".gz" }, zip},
		{"dot in the name", func(n string) string { return strings.Replace(n, "-idx", ".idx", 1) }, bytes.Clone},
		{"dot, gzipped", func(n string) string { return strings.Replace(n, "-idx", ".idx", 1) + ".gz" }, zip},
		{"gzipped without .gz", func(n string) string { return n }, zip},
		{"plain with .gz", func(n string) string { return n + ".gz" }, bytes.Clone},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := map[string][]byte{}
			for name, data := range pictures() {
				files[test.rename(name)] = test.change(data)
			}
			got := mustRun(t, "-data", write(t, files), "-epochs", "12", "-batch", "8", "-hidden", "32", "-lr", "0.01")
			if got.accuracy != 100 {
				t.Errorf("accuracy %.2f%%, want 100%%", got.accuracy)
			}
			if hash == "" {
				hash = got.hash
			}
			if got.hash != hash {
				t.Errorf("hash %s, of the first form %s", got.hash, hash)
			}
		})
	}
}

func TestIDXErrors(t *testing.T) {
	for _, test := range []struct {
		name    string
		file    string // the file at fault
		change  func([]byte) []byte
		message string // after the file's path; DIR is the folder
	}{
		{"missing", testLabels, func([]byte) []byte { return nil },
			"no such file, also not with .gz or .idx"},
		{"empty", trainImages, func(b []byte) []byte { return b[:0] },
			"truncated in its header"},
		{"header truncated", trainImages, func(b []byte) []byte { return b[:15] },
			"truncated in its header"},
		{"header only", trainLabels, func(b []byte) []byte { return b[:8] },
			"truncated: 0 of 200 bytes follow the header"},
		{"body truncated", testImages, func(b []byte) []byte { return b[:len(b)-1] },
			"truncated: 599 of 600 bytes follow the header"},
		{"gzip header truncated", trainLabels, func(b []byte) []byte { return zip(b)[:5] },
			"unexpected EOF"},
		{"gzip truncated", trainLabels, func(b []byte) []byte { return cutZip(b[:100]) },
			"truncated: 92 of 200 bytes follow the header"},
		{"gzip checksum truncated", trainLabels, func(b []byte) []byte { z := zip(b); return z[:len(z)-3] },
			"unexpected EOF"},
		{"gzip checksum wrong", trainLabels, func(b []byte) []byte { z := zip(b); z[len(z)-5] ^= 1; return z },
			"gzip: invalid checksum"},
		{"labels for images", trainImages, func([]byte) []byte { return pictures()[trainLabels] },
			"magic number 0x00000801: must be 0x00000803"},
		{"images for labels", testLabels, func([]byte) []byte { return pictures()[testImages] },
			"magic number 0x00000803: must be 0x00000801"},
		{"other file", trainImages, func([]byte) []byte { return []byte("\x89PNG\r\n\x1a\n12345678") },
			"magic number 0x89504e47: must be 0x00000803"},
		{"fewer labels", trainLabels, func(b []byte) []byte { return append(idx(0x801, 199), b[8:207]...) },
			"199 labels, but 200 images in DIR/" + trainImages},
		{"label out of range", testLabels, func(b []byte) []byte { b[8+3] = 10; return b },
			"label 10 of image 3: must be 0 to 9"},
		{"other size", testImages, func(b []byte) []byte { return append(idx(0x803, 50, 4, 3), b[16:]...) },
			"images of 4x3 pixels, but 3x4 in DIR/" + trainImages},
		{"trailing byte", trainImages, func(b []byte) []byte { return append(b, 0) },
			"trailing bytes after the 2400 that its header says"},
		{"trailing byte, gzipped", testLabels, func(b []byte) []byte { return zip(append(b, 0)) },
			"trailing bytes after the 50 that its header says"},
		{"no images", trainImages, func([]byte) []byte { return idx(0x803, 0, 3, 4) },
			"0 images of 3x4 pixels: must be at least one, of 1 to 65536 pixels"},
		{"no pixels", trainImages, func([]byte) []byte { return idx(0x803, 200, 0, 4) },
			"200 images of 0x4 pixels: must be at least one, of 1 to 65536 pixels"},
		{"large images", trainImages, func([]byte) []byte { return append(idx(0x803, 1, 300, 300), make([]byte, 90000)...) },
			"1 images of 300x300 pixels: must be at least one, of 1 to 65536 pixels"},
		{"header lies", trainImages, func(b []byte) []byte { return append(idx(0x803, 1<<20, 28, 28), b[16:]...) },
			"truncated: 2400 of 822083584 bytes follow the header"},
		{"header lies, gzipped", trainImages, func(b []byte) []byte { return zip(append(idx(0x803, 1<<20, 28, 28), b[16:]...)) },
			"truncated: 2400 of 822083584 bytes follow the header"},
		{"header overflows", trainImages, func(b []byte) []byte { return append(idx(0x803, -1, -1, -1), b[16:]...) },
			"too large: its header says [4294967295 4294967295 4294967295]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := pictures()
			if files[test.file] = test.change(files[test.file]); files[test.file] == nil {
				delete(files, test.file)
			}
			dir := write(t, files)
			message := filepath.Join(dir, test.file) + ": " + strings.ReplaceAll(test.message, "DIR/", dir+string(filepath.Separator))

			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			mustEnd(t, 1, message, "-data", dir)
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
				t.Errorf("allocated %d bytes for small files", got)
			}
		})
	}
}

// cutZip returns the gzipped data without an end to it.
func cutZip(data []byte) []byte {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Write(data)
	w.Flush()
	return zipped.Bytes()
}

func TestNoFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	mustEnd(t, 1, filepath.Join(dir, trainImages)+": no such file, also not with .gz or .idx", "-data", dir)
}
