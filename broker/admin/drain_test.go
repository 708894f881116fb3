package admin

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestDrain(t *testing.T) {
	a := newAPI(t)
	c := a.client(t, "root")
	for range 2 {
		s, err := c.Drain(t.Context())
		if err != nil || s.Safe || !s.Draining || s.Connections != 1 || !slices.Equal(s.Reasons, []string{"1 connections were asked to leave and are still open"}) {
			t.Errorf("draining: %+v %v", s, err)
		}
	}
	if status, body := a.call(t, http.MethodGet, "/readyz", "", "", ""); status != 503 || !strings.Contains(body, drainingProblem) {
		t.Errorf("ready while it drains: %d %s", status, body)
	}
	s, err := c.Undrain(t.Context())
	if err != nil || !s.Safe || s.Draining {
		t.Errorf("drained no more: %+v %v", s, err)
	}
	if status, _ := a.call(t, http.MethodGet, "/readyz", "", "", ""); status != 200 {
		t.Errorf("not ready afterwards: %d", status)
	}
	if !slices.Equal(a.drains, []bool{true, false}) {
		t.Errorf("the server was told %v", a.drains)
	}
}

func TestTexts(t *testing.T) {
	c := newAPI(t).client(t, "eye")
	if b, err := c.Goroutines(t.Context()); err != nil || !strings.Contains(string(b), "goroutine profile: total") {
		t.Errorf("goroutines: %.60s %v", b, err)
	}
	for byQueue, want := range map[bool]string{false: "some_metric 1\n", true: "queue_metric 1\n"} {
		if b, err := c.Metrics(t.Context(), byQueue); err != nil || string(b) != want {
			t.Errorf("metrics: %q %v", b, err)
		}
	}
}
