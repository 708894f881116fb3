package selector

import (
	"fmt"
	"unicode/utf8"
)

// Error says why a selector is refused.
type Error struct {
	Position int // counted in characters from 1; zero when it is the whole selector
	Reason   string
}

func (e *Error) Error() string {
	if e.Position == 0 {
		return "selector: " + e.Reason
	}
	return fmt.Sprintf("selector, position %d: %s", e.Position, e.Reason)
}

// errorAt is an error at a byte of a text.
func errorAt(text string, at int, format string, args ...any) *Error {
	return &Error{1 + utf8.RuneCountInString(text[:at]), fmt.Sprintf(format, args...)}
}

// excerpt is a part of a text as errors show it.
func excerpt(s string) string {
	const longest = 32
	n := 0
	for i := range s {
		if n++; n > longest {
			return s[:i] + "…"
		}
	}
	return s
}
