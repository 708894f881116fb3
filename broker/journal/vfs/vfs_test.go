package vfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

// TestImplementationsAgree runs the same operations on each file system.
func TestImplementationsAgree(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"os": vfs.OS, "memory": vfs.NewMemory(), "crash": vfs.NewCrash(), "faulty": vfs.NewFaulty(vfs.NewMemory())} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
			if _, err := fs.Open(a); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("open of a missing file gives %v", err)
			}
			f := must(fs.Create(a))(t)
			if _, err := fs.Create(a); !errors.Is(err, os.ErrExist) {
				t.Errorf("a second create gives %v", err)
			}
			must(f.WriteAt([]byte("text"), 2))(t)
			err := errors.Join(f.Preallocate(10), f.Sync(), fs.Rename(a, b), fs.SyncDir(dir), f.Close())
			if err != nil {
				t.Fatal(err)
			}
			g := must(fs.Open(b))(t)
			buf := make([]byte, 12)
			n, err := g.ReadAt(buf, 1)
			if got := string(buf[:n]); got != "\x00text\x00\x00\x00\x00" || err == nil || must(g.Size())(t) != 10 {
				t.Errorf("read %q, %v", got, err)
			}
			if names := must(fs.List(dir))(t); fmt.Sprint(names) != "[b]" {
				t.Errorf("the directory holds %v", names)
			}
			if err := errors.Join(g.Close(), fs.Remove(b)); err != nil {
				t.Error(err)
			}
			if err := fs.Remove(b); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a second remove gives %v", err)
			}
		})
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestPowerLoss looks at the states that many seeds give: what was synced is always there, the rest sometimes, by sectors.
func TestPowerLoss(t *testing.T) {
	fs := vfs.NewCrash()
	f := must(fs.Create("d/f"))(t)
	must(f.WriteAt([]byte("sure"), 0))(t)
	if err := errors.Join(f.Sync(), fs.SyncDir("d")); err != nil {
		t.Fatal(err)
	}
	late := make([]byte, 1024)
	late[0], late[512] = 1, 1
	must(f.WriteAt(late, 512))(t)
	if err := fs.Rename("d/f", "d/g"); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int)
	for seed := range uint64(200) {
		left := fs.PowerLoss(seed)
		names := must(left.List("d"))(t)
		buf := make([]byte, 1536)
		must(must(left.Open(filepath.Join("d", names[0])))(t).Size())(t)
		if _, err := must(left.Open(filepath.Join("d", names[0])))(t).ReadAt(buf, 0); string(buf[:4]) != "sure" {
			t.Fatalf("seed %d lost what was synced: %q, %v", seed, buf[:4], err)
		}
		seen[fmt.Sprint(names, buf[512], buf[1024])]++
	}
	if len(seen) != 8 {
		t.Errorf("not every state was seen: %v", seen)
	}
}

func TestFaultsCount(t *testing.T) {
	fs := vfs.NewFaulty(vfs.NewMemory())
	f := must(fs.Create("f"))(t)
	fs.Inject(vfs.Fault{Op: vfs.OpWrite, After: 1, Times: 2, Err: syscall.EIO, Short: 3})
	for i, want := range []error{nil, syscall.EIO, syscall.EIO, nil} {
		n, err := f.WriteAt([]byte("text"), 0)
		if !errors.Is(err, want) || want != nil && n != 3 {
			t.Errorf("write %d writes %d, %v", i, n, err)
		}
	}
}
