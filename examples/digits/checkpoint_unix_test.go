//go:build linux || darwin || freebsd

package main

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// -save writes to a pipe and leaves it a pipe.
func TestSaveToPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0) // for both ends, so that no open waits for the other
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	c := &checkpoint{Images: "some", Epoch: 3, Theta: []float32{1, 2}}
	if err := c.write(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeNamedPipe {
		t.Fatalf("no longer a pipe: %v, %v", info, err)
	}
	var want bytes.Buffer
	if err := c.encode(&want); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, want.Len())
	if _, err := io.ReadFull(pipe, got); err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("error %v, or other bytes in the pipe", err)
	}
}
