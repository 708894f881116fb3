package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDashboardsAreUpToDate(t *testing.T) {
	for _, d := range dashboards {
		want, err := d.render()
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join("../..", folder, d.file+".json"))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not what pages.go says (%v): run make manifests", d.file, err)
		}
	}
}

func TestPanelsDoNotOverlap(t *testing.T) {
	for _, d := range dashboards {
		taken := map[[2]int]bool{}
		for _, p := range d.layout() {
			place := p["gridPos"].(object)
			for x := range place["w"].(int) {
				for y := range place["h"].(int) {
					at := [2]int{place["x"].(int) + x, place["y"].(int) + y}
					if at[0] >= columns || taken[at] {
						t.Fatalf("%s: %v lies on another panel or beside the page", d.file, p["title"])
					}
					taken[at] = true
				}
			}
		}
	}
}
