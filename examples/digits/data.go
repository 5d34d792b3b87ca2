package main

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed57504d97/kernel/internal/digits"
)

const classes = digits.Classes // also those of MNIST

// A dataset is images of one size, each with the class that it belongs to.
type dataset struct {
	name       string
	rows, cols int
	full       float32 // the value of a pixel that counts as 1
	pixels     []byte  // image after image, row by row
	labels     []byte  // one an image, below classes
}

// load sets x to the pixels of image i and returns its label.
func (d *dataset) load(x []float32, i int) (label byte) {
	for k, pixel := range d.pixels[i*len(x) : (i+1)*len(x)] {
		x[k] = float32(pixel) / d.full
	}
	return d.labels[i]
}

// load reads the files in dir or, if dir is empty, returns the embedded images.
func load(dir string) (train, test *dataset, err error) {
	if dir == "" {
		train, test = loadDigits()
		return train, test, nil
	}
	return loadIDX(dir)
}

func loadDigits() (train, test *dataset) {
	dataset := func(set *digits.Set) *dataset {
		return &dataset{digits.Name, digits.Rows, digits.Cols, digits.Darkest, set.Images, set.Labels}
	}
	images, held := digits.Load()
	return dataset(images), dataset(held)
}

// loadIDX reads the four files of MNIST, Fashion-MNIST or a set made like them.
func loadIDX(dir string) (train, test *dataset, err error) {
	train, err = loadPair(dir, "train")
	if err != nil {
		return nil, nil, err
	}
	test, err = loadPair(dir, "t10k")
	if err != nil {
		return nil, nil, err
	}
	if test.rows != train.rows || test.cols != train.cols {
		return nil, nil, fmt.Errorf("%s: images of %dx%d pixels, but %dx%d in %s",
			test.name, test.rows, test.cols, train.rows, train.cols, train.name)
	}
	return train, test, nil
}

const maxPixels = 1 << 16 // of an image; MNIST has 784

// loadPair reads a file of images and the file of their labels.
func loadPair(dir, prefix string) (*dataset, error) {
	images, err := readIDX(dir, prefix+"-images-idx3-ubyte", 3)
	if err != nil {
		return nil, err
	}
	count, rows, cols := images.lengths[0], images.lengths[1], images.lengths[2]
	if len(images.data) == 0 || rows*cols > maxPixels {
		return nil, fmt.Errorf("%s: %d images of %dx%d pixels: must be at least one, of 1 to %d pixels",
			images.path, count, rows, cols, maxPixels)
	}
	labels, err := readIDX(dir, prefix+"-labels-idx1-ubyte", 1)
	if err != nil {
		return nil, err
	}
	if labels.lengths[0] != count {
		return nil, fmt.Errorf("%s: %d labels, but %d images in %s",
			labels.path, labels.lengths[0], count, images.path)
	}
	for i, label := range labels.data {
		if label >= classes {
			return nil, fmt.Errorf("%s: label %d of image %d: must be 0 to %d", labels.path, label, i, classes-1)
		}
	}
	return &dataset{images.path, rows, cols, 255, images.data, labels.data}, nil
}

// An idxFile is an array of bytes with as many dimensions as it has lengths;
// the last runs fastest.
type idxFile struct {
	path    string
	lengths []int
	data    []byte
}

const maxBytes = 1 << 30 // of an array; MNIST has 47 million

// readIDX reads a file in the IDX format, gzipped or not: a magic number, which
// is 8 for elements of one byte and then the number of dimensions, the length
// of each, big-endian in four bytes, and the elements.
func readIDX(dir, name string, dimensions int) (*idxFile, error) {
	file, err := open(dir, name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	fail := func(format string, args ...any) (*idxFile, error) {
		return nil, fmt.Errorf("%s: %s", file.Name(), fmt.Sprintf(format, args...))
	}

	// By content and not by name: browsers unzip some files that they save.
	buffered := bufio.NewReader(file)
	var r io.Reader = buffered
	if start, _ := buffered.Peek(2); string(start) == "\x1f\x8b" {
		if r, err = gzip.NewReader(buffered); err != nil {
			return fail("%v", err)
		}
	}

	header := make([]uint32, 1+dimensions)
	if err := binary.Read(r, binary.BigEndian, header); truncated(err) {
		return fail("truncated in its header")
	} else if err != nil {
		return fail("%v", err)
	}
	if magic := 8<<8 | uint32(dimensions); header[0] != magic {
		return fail("magic number 0x%08x: must be 0x%08x", header[0], magic)
	}
	lengths, size := make([]int, dimensions), int64(1)
	for i, length := range header[1:] {
		lengths[i] = int(length)
		size *= int64(length)
		if size > maxBytes {
			return fail("too large: its header says %d", header[1:])
		}
	}

	// ReadAll allocates as data comes in, and so no more than a few times what
	// is there, whatever the header says.
	data, err := io.ReadAll(io.LimitReader(r, size+1))
	have := int64(len(data))
	switch {
	case have < size && (err == nil || truncated(err)):
		return fail("truncated: %d of %d bytes follow the header", have, size)
	case err != nil:
		return fail("%v", err)
	case have > size:
		return fail("trailing bytes after the %d that its header says", size)
	}
	return &idxFile{file.Name(), lengths, data}, nil
}

func truncated(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// open opens a file by its name or by one of its usual other names.
func open(dir, name string) (*os.File, error) {
	dotted := strings.Replace(name, "-idx", ".idx", 1)
	for _, variant := range []string{name, name + ".gz", dotted, dotted + ".gz"} {
		file, err := os.Open(filepath.Join(dir, variant))
		if !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
	}
	return nil, fmt.Errorf("%s: no such file, also not with .gz or .idx", filepath.Join(dir, name))
}
