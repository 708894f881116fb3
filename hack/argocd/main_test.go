package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFilesAreUpToDate(t *testing.T) {
	const root = "../.."
	files, err := render(root)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		got, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Errorf("%v: run make manifests", err)
			continue
		}
		if string(got) != want {
			t.Errorf("%s is not what its sources give: run make manifests", path)
		}
	}
}
