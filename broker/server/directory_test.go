package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	first, err := identity(dir)
	if err != nil || len(first) != 32 {
		t.Fatalf("new identity %q: %v", first, err)
	}
	if err := os.Mkdir(filepath.Join(dir, journalFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	if again, err := identity(dir); err != nil || again != first {
		t.Errorf("identity became %q, which was %q: %v", again, first, err)
	}
	if other, err := identity(t.TempDir()); err != nil || other == first {
		t.Errorf("two directories have the identity %q: %v", other, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "node.json.*")); len(left) > 0 {
		t.Errorf("files left over: %v", left)
	}
	path := filepath.Join(dir, identityFile)
	for content, want := range map[string]string{
		"":                          "is damaged: restore it",
		"{}":                        "is damaged: restore it",
		`{"format":2,"id":"other"}`: "has format 2, this version reads 1",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := identity(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("identity %q: %v, wanted %q", content, err, want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := identity(dir); err == nil || !strings.Contains(err.Error(), "has a journal but no node.json") {
		t.Errorf("a journal without identity: %v", err)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	release, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(dir); err == nil || !strings.Contains(err.Error(), "is in use by process") {
		t.Errorf("second lock: %v", err)
	}
	if err := os.Truncate(filepath.Join(dir, lockFile), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := lock(dir); err == nil || !strings.Contains(err.Error(), "is in use by another process") {
		t.Errorf("second lock of a file that says nothing: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	again, err := lock(dir)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
}
