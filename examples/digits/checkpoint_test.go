package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// small are flags for a training that takes next to no time.
func small(dir string, more ...string) []string {
	return append([]string{"-data", dir, "-hidden", "4", "-epochs", "5", "-batch", "30"}, more...)
}

// A watcher takes what the program prints, and copies the file that it has saved
// by each line: what is left if it is killed then.
type watcher struct {
	strings.Builder
	path   string
	copies [][]byte
}

func (w *watcher) Write(p []byte) (int, error) {
	saved, err := os.ReadFile(w.path)
	if err != nil {
		return 0, err
	}
	w.copies = append(w.copies, saved)
	return w.Builder.Write(p)
}

// train returns the files that the program saves, before the first epoch and
// after each, and the result.
func train(t *testing.T, args ...string) (files [][]byte, end result) {
	t.Helper()
	stdout := &watcher{path: filepath.Join(t.TempDir(), "saved")}
	var stderr strings.Builder
	status := run(append(args, "-save", stdout.path), stdout, &stderr)
	if status != 0 || len(stdout.copies) < 5 {
		t.Fatalf("%q: status %d, printed\n%s%s", args, status, stdout.String(), stderr.String())
	}
	// Two lines come before the first epoch, and two after the last.
	return stdout.copies[1 : len(stdout.copies)-2], lastResult(t, args, stdout.String())
}

func put(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
}

// putNew writes a file of its own.
func putNew(t *testing.T, data []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "saved")
	put(t, path, data)
	return path
}

func get(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestResume(t *testing.T) {
	dir := write(t, pictures())
	for _, options := range []string{
		"", "-seed 7 -lr 0.003",
		"-optimizer keras -momentum 0.9", "-optimizer optax -centered",
		"-optimizer pytorch -momentum 0.5 -centered", "-optimizer tensorflow", "-optimizer gomlx", "-clip 0.5 -loss-scale 8",
	} {
		t.Run(options, func(t *testing.T) {
			args := small(dir, strings.Fields(options)...)
			want := mustRun(t, args...)
			files, got := train(t, args...)
			if got != want {
				t.Errorf("with -save: %v, want %v", got, want)
			}
			if len(files) != 6 {
				t.Fatalf("%d files", len(files))
			}
			for epoch, file := range files {
				if got := mustRun(t, "-resume", putNew(t, file)); got != want {
					t.Errorf("resumed after epoch %d: %v, want %v", epoch, got, want)
				}
			}
			// With the same flags too, and into the same file.
			path := putNew(t, files[2])
			if got := mustRun(t, append(args, "-resume", path, "-save", path)...); got != want {
				t.Errorf("resumed with all flags: %v, want %v", got, want)
			}
			if got := mustRun(t, "-resume", path); got != want {
				t.Errorf("resumed when done: %v, want %v", got, want)
			}
		})
	}
}

func TestResumeDigits(t *testing.T) {
	files, _ := train(t, "-epochs", "3")
	if got := mustRun(t, "-resume", putNew(t, files[2])).hash; got != hashAfter3 {
		t.Errorf("hash %s, want %s", got, hashAfter3)
	}
}

// A training goes on with any number of workers, and with images that have
// moved.
func TestResumeElsewhere(t *testing.T) {
	args := []string{"-optimizer", "keras", "-momentum", "0.9"}
	files, want := train(t, small(write(t, pictures()), args...)...)
	path := putNew(t, files[2])
	if got := mustRun(t, "-resume", path, "-workers", "3", "-data", write(t, pictures())); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestResumeContradictions(t *testing.T) {
	dir := write(t, pictures())
	changed := pictures()
	changed[testLabels][8] ^= 1
	other := write(t, changed)
	files, _ := train(t, small(dir)...)
	path := putNew(t, files[2])
	images := describeFolder(t, dir)
	for _, test := range []struct {
		args    []string
		message string // after the file's path
	}{
		{[]string{"-hidden", "5"}, "saved with -hidden 4, not 5"},
		{[]string{"-optimizer", "pytorch"}, "saved with -optimizer update, not pytorch"},
		{[]string{"-epochs", "6"}, "saved with -epochs 5, not 6"},
		{[]string{"-seed", "2", "-lr", "0.01", "-centered"}, "saved with -centered false, not true; -lr 0.002, not 0.01; -seed 1, not 2"},
		{[]string{"-data", ""}, "saved with " + images + ", not " + describeFolder(t, "")},
		{[]string{"-data", other}, "saved with " + images + ", not " + describeFolder(t, other)},
	} {
		mustEnd(t, 1, path+": "+test.message, append(test.args, "-resume", path)...)
	}
}

func describeFolder(t *testing.T, dir string) string {
	t.Helper()
	train, test, err := load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return describe(train, test)
}

// saved is a file that -save has written.
func saved(t *testing.T) []byte {
	t.Helper()
	files, _ := train(t, small(write(t, pictures()))...)
	return files[2]
}

const headerSize = 16 + 4 + 8 + sha256.Size

func TestResumeErrors(t *testing.T) {
	good := saved(t)
	with := func(at int, value byte) []byte {
		b := bytes.Clone(good)
		b[at] = value
		return b
	}
	signed := func(body []byte) []byte {
		b := binary.BigEndian.AppendUint64(bytes.Clone(good[:20]), uint64(len(body)))
		sum := sha256.Sum256(body)
		return slices.Concat(b, sum[:], body)
	}
	path := filepath.Join(t.TempDir(), "saved")
	for _, test := range []struct {
		content []byte
		message string // after the file's path
	}{
		{nil, "truncated in its header"},
		{good[:headerSize-1], "truncated in its header"},
		{good[:headerSize], "truncated: 0 of SIZE bytes follow the header"},
		{pictures()[trainImages], "not a file that -save has written"},
		{with(19, 2), "format version 2: must be 3"},
		{with(19, 4), "format version 4: must be 3"},
		{slices.Concat(good[:20], bytes.Repeat([]byte{255}, 40), good[headerSize:]), "too large: its header says 18446744073709551615"},
		{append(bytes.Clone(good), 0), "trailing bytes after the SIZE that its header says"},
		{with(headerSize+99, good[headerSize+99]^1), "damaged: its checksum differs"},
		{with(headerSize-1, good[headerSize-1]^1), "damaged: its checksum differs"},
		{signed(nil), "EOF"},
	} {
		put(t, path, test.content)
		message := strings.ReplaceAll(test.message, "SIZE", fmt.Sprint(len(good)-headerSize))
		mustEnd(t, 1, path+": "+message, "-resume", path)
	}
	_, err := os.Open(path + "2")
	mustEnd(t, 1, err.Error(), "-resume", path+"2")
}

// No byte may be missing or changed.
func TestDamaged(t *testing.T) {
	good := saved(t)
	if _, err := decode(bytes.NewReader(good)); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		if _, err := decode(bytes.NewReader(good[:i])); err == nil {
			t.Errorf("decoded the first %d of %d bytes", i, len(good))
		}
		good[i] ^= 0x40
		if _, err := decode(bytes.NewReader(good)); err == nil {
			t.Errorf("decoded with another byte %d", i)
		}
		good[i] ^= 0x40
	}
}

// Parts of another size, as a program with another network would have them.
func TestMisfit(t *testing.T) {
	good := saved(t)
	for _, change := range []func(c *checkpoint){
		func(c *checkpoint) { c.Theta = c.Theta[1:] },
		func(c *checkpoint) { c.Order = nil },
		func(c *checkpoint) { c.State = nil },
		func(c *checkpoint) { c.State.MomentumBuffer = c.Theta },
		func(c *checkpoint) { c.Random = nil },
	} {
		c, err := decode(bytes.NewReader(good))
		if err != nil {
			t.Fatal(err)
		}
		change(c)
		path := filepath.Join(t.TempDir(), "saved")
		if err := c.write(path); err != nil {
			t.Fatal(err)
		}
		mustEnd(t, 1, path+": its parts do not fit its flags", "-resume", path)
	}
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	half := func(w io.Writer) error {
		io.WriteString(w, "ne")
		return errors.New("disk full")
	}
	if err := replace(path, half); err == nil || err.Error() != "disk full" {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a file after a failure: %v", err)
	}

	put(t, path, []byte("old"))
	if err := replace(path, half); err == nil {
		t.Error("no error")
	}
	if got := get(t, path); string(got) != "old" {
		t.Errorf("%q after a failure, want the old content", got)
	}
	if _, err := os.Stat(path + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("temporary file after a failure: %v", err)
	}

	put(t, path+".tmp", []byte("left by one that was killed")) // longer than the new content
	err := replace(path, func(w io.Writer) error {
		for _, part := range []string{"n", "e", "w"} {
			if got := get(t, path); string(got) != "old" {
				t.Errorf("%q while writing, want the old content", got)
			}
			io.WriteString(w, part)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, path); string(got) != "new" {
		t.Errorf("%q, want the new content", got)
	}
	if _, err := os.Stat(path + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("temporary file when done: %v", err)
	}
}

// The new content is on the disk before it has the name, and the name before
// replace is done. A disk that fails is an error, and the old content stays.
func TestReplaceSyncs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	put(t, path, []byte("old"))
	defer func(before func(*os.File) error) { sync = before }(sync)
	var synced []string
	sync = func(file *os.File) error {
		synced = append(synced, fmt.Sprintf("%s when the file is %q", file.Name(), get(t, path)))
		if file.Name() == path+".tmp" {
			synced = append(synced, fmt.Sprintf("%q in it", get(t, file.Name())))
		}
		return nil
	}
	content := func(w io.Writer) error {
		_, err := io.WriteString(w, "new")
		return err
	}
	if err := replace(path, content); err != nil {
		t.Fatal(err)
	}
	want := []string{path + `.tmp when the file is "old"`, `"new" in it`, filepath.Dir(path) + ` when the file is "new"`}
	if !slices.Equal(synced, want) {
		t.Errorf("synced: %q, want %q", synced, want)
	}

	put(t, path, []byte("old"))
	sync = func(*os.File) error { return errors.New("disk gone") }
	if err := replace(path, content); err == nil || err.Error() != "disk gone" {
		t.Errorf("error %v", err)
	}
	if got := get(t, path); string(got) != "old" {
		t.Errorf("%q after a failure, want the old content", got)
	}
}

// Killed while it saved: the file is that of the epoch before, and half of the
// next lies beside it.
func TestKilledWhileSaving(t *testing.T) {
	args := small(write(t, pictures()))
	files, want := train(t, args...)
	good := files[2]
	path := putNew(t, good)
	put(t, path+".tmp", good[:len(good)/2])
	if got := mustRun(t, "-resume", path, "-save", path); got != want {
		t.Errorf("%v, want %v", got, want)
	}

	put(t, path+".tmp", good[:len(good)/2])
	mustEnd(t, 1, fmt.Sprintf("%s.tmp: truncated: %d of %d bytes follow the header",
		path, len(good)/2-headerSize, len(good)-headerSize), "-resume", path+".tmp")
}

// -save writes to the file that a link leads to, and keeps its mode.
func TestSaveToLink(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(sub, 0o777); err != nil {
		t.Fatal(err)
	}
	link := func(name, to string) string {
		name = filepath.Join(dir, name)
		if err := os.Symlink(to, name); err != nil {
			t.Skip(err) // as on Windows without the privilege
		}
		if info, err := os.Lstat(name); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			t.Skip("links are not seen as such here, as under Wine 8")
		}
		return name
	}
	content := func(w io.Writer) error {
		_, err := io.WriteString(w, "new")
		return err
	}
	link("folder", filepath.Join("a", "b"))
	private := filepath.Join(dir, "a", "private")
	put(t, private, []byte("old"))
	if err := os.Chmod(private, 0o400); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, to, file string }{
		{"existing", filepath.Join("a", "private"), private},
		{"missing", filepath.Join(sub, "new"), filepath.Join(sub, "new")},
		{"chain", "missing", filepath.Join(sub, "new")},
		{"past", "folder" + string(filepath.Separator) + ".." + string(filepath.Separator) + "past", filepath.Join(dir, "a", "past")},
	} {
		path := link(test.name, test.to)
		if err := save(path, content); err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if got := get(t, test.file); string(got) != "new" {
			t.Errorf("%s: %q, want the new content", test.name, got)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("%s: no longer a link: %v, %v", test.name, info, err)
		}
	}
	if info, err := os.Stat(private); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("mode %v, want no access for others", info.Mode())
	}
	loop := link("loop", "loop")
	if err := save(loop, content); err == nil {
		t.Error("no error for a link to itself")
	}
}

// What cannot be saved is known before the first epoch, and an older file stays.
func TestSaveFails(t *testing.T) {
	dir := t.TempDir()
	blocked := filepath.Join(dir, "blocked") // by a folder in the place of the temporary file
	if err := os.Mkdir(blocked+".tmp", 0o777); err != nil {
		t.Fatal(err)
	}
	put(t, blocked, []byte("old"))
	for _, path := range []string{filepath.Join(dir, "none", "saved"), dir, blocked} {
		var stdout, stderr strings.Builder
		status := run([]string{"-save", path}, &stdout, &stderr)
		if got := stderr.String(); status != 1 || stdout.Len() > 0 ||
			!strings.HasPrefix(got, "digits: "+path+": not saved: ") || strings.Count(got, "\n") != 1 {
			t.Errorf("-save %s: status %d, stdout %q, stderr %q", path, status, stdout.String(), got)
		}
	}
	if got := get(t, blocked); string(got) != "old" {
		t.Errorf("%q after a failure, want the old content", got)
	}
	if _, err := os.Stat(dir + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("temporary file after a failure: %v", err)
	}
}
