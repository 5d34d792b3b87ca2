package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/seed57504d97/kernel"
)

// A checkpoint is all that a training needs to continue bit for bit.
type checkpoint struct {
	Flags  map[string]string // as a user could have given them
	Images string            // what describe says
	Epoch  int               // how many are done
	Random *rand.PCG
	Order  []int // of the images, in the last epoch: the next shuffles it
	Theta  []float32
	State  *kernel.State
}

// describe returns a description that differs for different data sets, wherever
// their files are.
func describe(train, test *dataset) string {
	h := sha256.New()
	for _, set := range []*dataset{train, test} {
		fmt.Fprintln(h, set.rows, set.cols, set.full, len(set.labels))
		h.Write(set.pixels)
		h.Write(set.labels)
	}
	return fmt.Sprintf("%d and %d images of %dx%d pixels, sha256 %x…",
		len(train.labels), len(test.labels), train.rows, train.cols, h.Sum(nil)[:8])
}

// restore copies a saved checkpoint into c, which is one at the start of the same
// training.
func (c *checkpoint) restore(from *checkpoint) error {
	if from.Images != c.Images {
		return fmt.Errorf("saved with %s, not %s", from.Images, c.Images)
	}
	if from.Random == nil || from.State == nil || from.Epoch < 0 ||
		len(from.Order) != len(c.Order) || len(from.Theta) != len(c.Theta) ||
		len(from.State.MeanSquare) != len(c.State.MeanSquare) ||
		len(from.State.MeanGrad) != len(c.State.MeanGrad) ||
		len(from.State.MomentumBuffer) != len(c.State.MomentumBuffer) {
		return errors.New("its parts do not fit its flags")
	}
	c.Epoch = from.Epoch
	*c.Random = *from.Random
	copy(c.Order, from.Order)
	copy(c.Theta, from.Theta)
	c.State.Step = from.State.Step
	copy(c.State.MeanSquare, from.State.MeanSquare)
	copy(c.State.MeanGrad, from.State.MeanGrad)
	copy(c.State.MomentumBuffer, from.State.MomentumBuffer)
	return nil
}

// A header is what a file begins with, big-endian. The checkpoint follows, by
// encoding/gob.
type header struct {
	Magic   [16]byte
	Version uint32
	Size    uint64            // of what follows
	Sum     [sha256.Size]byte // of what follows
}

var magic = [16]byte([]byte("digits training\n"))

// version is that of the format: another one for each change of checkpoint or of
// what a flag means. Files of other versions are refused.
const version = 3

func (c *checkpoint) encode(w io.Writer) error {
	var body bytes.Buffer
	if err := gob.NewEncoder(&body).Encode(c); err != nil {
		return err
	}
	h := header{magic, version, uint64(body.Len()), sha256.Sum256(body.Bytes())}
	if err := binary.Write(w, binary.BigEndian, h); err != nil {
		return err
	}
	_, err := w.Write(body.Bytes())
	return err
}

func decode(r io.Reader) (*checkpoint, error) {
	var h header
	if err := binary.Read(r, binary.BigEndian, &h); truncated(err) {
		return nil, errors.New("truncated in its header")
	} else if err != nil {
		return nil, err
	}
	if h.Magic != magic {
		return nil, errors.New("not a file that -save has written")
	}
	if h.Version != version {
		return nil, fmt.Errorf("format version %d: must be %d", h.Version, version)
	}
	if h.Size > maxBytes {
		return nil, fmt.Errorf("too large: its header says %d", h.Size)
	}
	body, err := io.ReadAll(io.LimitReader(r, int64(h.Size)+1))
	have := uint64(len(body))
	switch {
	case err != nil:
		return nil, err
	case have < h.Size:
		return nil, fmt.Errorf("truncated: %d of %d bytes follow the header", have, h.Size)
	case have > h.Size:
		return nil, fmt.Errorf("trailing bytes after the %d that its header says", h.Size)
	case sha256.Sum256(body) != h.Sum:
		return nil, errors.New("damaged: its checksum differs")
	}
	c := new(checkpoint)
	if err := gob.NewDecoder(bytes.NewReader(body)).Decode(c); err != nil {
		return nil, err
	}
	return c, nil
}

func readCheckpoint(path string) (*checkpoint, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	c, err := decode(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func (c *checkpoint) write(path string) error {
	if err := save(path, c.encode); err != nil {
		return fmt.Errorf("%s: not saved: %w", path, err)
	}
	return nil
}

// save writes to what path names: a device or pipe directly, a regular file as a
// whole, the one that a symbolic link leads to if path is one.
func save(path string, write func(io.Writer) error) error {
	info, err := os.Stat(path)
	switch {
	case err != nil || info.Mode().IsRegular():
		if path, err = follow(path); err != nil {
			return err
		}
		return replace(path, write)
	case info.IsDir():
		return errors.New("is a directory")
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}

// follow returns what a chain of symbolic links leads to, whether or not it exists.
// It joins paths without cleaning them: past a link to a folder, .. is not the
// folder that the link lies in.
func follow(path string) (string, error) {
	for range 40 { // as many as Linux follows
		link, err := os.Readlink(path)
		if err != nil {
			return path, nil // no link
		}
		if !filepath.IsAbs(link) {
			dir, _ := filepath.Split(path)
			link = dir + link
		}
		path = link
	}
	return "", errors.New("too many links")
}

// sync is (*os.File).Sync. A test replaces it to see when it is called.
var sync = (*os.File).Sync

// replace gives a file new content: all of it or, if it fails or the program or the
// machine stops, none.
func replace(path string, write func(io.Writer) error) (err error) {
	mode := fs.FileMode(0o666)
	if old, err := os.Stat(path); err == nil {
		mode = old.Mode().Perm()
	}
	// In the same folder, to be on the same disk. A leftover of an earlier run is
	// overwritten.
	file, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(file.Name())
		}
	}()
	err = write(file)
	if err == nil {
		err = sync(file) // before the name is on it
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return err
	}
	// The new name reaches the disk with the folder. Not every system can sync a
	// folder; without that the old content may come back if the machine stops.
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		sync(dir)
		dir.Close()
	}
	return nil
}
