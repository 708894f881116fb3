package wire

import (
	"net"
	"slices"
	"testing"
)

// What a handler leaves behind is the next Read's, before anything more is read.
func TestStop(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()  //nolint:errcheck // nothing depends on it
	defer there.Close() //nolint:errcheck // likewise
	r := NewReader(here, func(src []byte) (int, error) { return min(len(src), 2), nil })
	go there.Write([]byte("aabbcc")) //nolint:errcheck // ends when all is read
	var got []string
	read := func(stopAt string) {
		t.Helper()
		if err := r.Read(func(p []byte) error {
			got = append(got, string(p))
			if string(p) == stopAt {
				return ErrStop
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	read("aa")
	if !slices.Equal(got, []string{"aa"}) {
		t.Fatal(got)
	}
	read("")
	if !slices.Equal(got, []string{"aa", "bb", "cc"}) {
		t.Error(got)
	}
	go there.Write([]byte("dd")) //nolint:errcheck // ends when all is read
	if read("dd"); got[len(got)-1] != "dd" {
		t.Error(got)
	}
}

func TestCredit(t *testing.T) {
	c := NewCredit(5)
	if n, ok := c.Take(3); n != 3 || !ok {
		t.Error(n, ok)
	}
	if n, ok := c.Take(3); n != 2 || !ok {
		t.Error(n, ok)
	}
	took := make(chan int)
	go func() { // ends with the credit
		n, _ := c.Take(9)
		took <- n
		_, ok := c.Take(1)
		if ok {
			t.Error("a closed credit gives")
		}
		close(took)
	}()
	c.Give(4)
	if n := <-took; n != 4 {
		t.Error(n)
	}
	c.Close()
	<-took
}
