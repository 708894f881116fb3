package topology

import (
	"encoding/json"
	"fmt"
)

// page is one page of a list as the API server sends it, of which only as much was read as is needed to part it. The objects
// in it are decoded one by one: as a list of Go structures a page is several times as large.
type page struct {
	items         [][]byte // JSON, parts of the answer
	version, next string
}

// newPage parts an answer, which belongs to the page then.
func newPage(text []byte) (*page, error) {
	p := &page{}
	err := members(text, func(name string, value []byte) error {
		switch name {
		case "metadata":
			var m struct{ ResourceVersion, Continue string }
			if err := json.Unmarshal(value, &m); err != nil {
				return err
			}
			p.version, p.next = m.ResourceVersion, m.Continue
		case "items":
			return elements(value, func(item []byte) error {
				p.items = append(p.items, item)
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("answer of the API server: %w", err)
	}
	return p, nil
}

// withoutManagedFields takes what nobody here reads out of an object's JSON, which is often more than half of it. It changes the
// text in place. What it does not understand it leaves to the decoder.
func withoutManagedFields(object []byte) []byte {
	const nothing = "null"
	var fields []byte
	members(object, func(name string, metadata []byte) error { //nolint:errcheck // the decoder says it
		if name != "metadata" {
			return nil
		}
		return members(metadata, func(name string, value []byte) error {
			if name == "managedFields" && len(value) >= len(nothing) {
				fields = value
			}
			return nil
		})
	})
	if fields == nil {
		return object
	}
	from := cap(object) - cap(fields) // both are parts of one array
	copy(fields, nothing)
	return append(object[:from+len(nothing)], object[from+len(fields):]...)
}

// syntaxError is that a text is no JSON, as far as it was looked at.
type syntaxError struct {
	what string
	at   int
}

func (e *syntaxError) Error() string { return fmt.Sprintf("no %s at byte %d", e.what, e.at) }

// members visits the members of a JSON object. Names are as they are written, between the quotes. Values are parts of the text
// whose own syntax was not looked at further than to find their end.
func members(text []byte, visit func(name string, value []byte) error) error {
	i, err := enter(text, '{')
	for err == nil {
		if i = space(text, i); i < len(text) && text[i] == '}' {
			return nil
		}
		end := valueEnd(text, i)
		if end < 0 || text[i] != '"' {
			return &syntaxError{"name of a member", i}
		}
		name := string(text[i+1 : end-1])
		if i = space(text, end); i >= len(text) || text[i] != ':' {
			return &syntaxError{"colon", i}
		}
		i = space(text, i+1)
		if end = valueEnd(text, i); end < 0 {
			return &syntaxError{"value", i}
		}
		if err = visit(name, text[i:end]); err == nil {
			i, err = after(text, end, '}')
		}
	}
	return err
}

// elements visits the elements of a JSON array; null is an empty one.
func elements(text []byte, visit func(value []byte) error) error {
	if string(text) == "null" {
		return nil
	}
	i, err := enter(text, '[')
	for err == nil {
		if i = space(text, i); i < len(text) && text[i] == ']' {
			return nil
		}
		end := valueEnd(text, i)
		if end < 0 {
			return &syntaxError{"value", i}
		}
		if err = visit(text[i:end]); err == nil {
			i, err = after(text, end, ']')
		}
	}
	return err
}

// enter finds what follows an opening bracket.
func enter(text []byte, open byte) (int, error) {
	i := space(text, 0)
	if i >= len(text) || text[i] != open {
		return i, &syntaxError{string(open), i}
	}
	return i + 1, nil
}

// after finds what follows a value: what comes after a comma, or the closing bracket.
func after(text []byte, i int, closing byte) (int, error) {
	i = space(text, i)
	switch {
	case i < len(text) && text[i] == ',':
		return i + 1, nil
	case i < len(text) && text[i] == closing:
		return i, nil
	}
	return i, &syntaxError{"comma or " + string(closing), i}
}

func space(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r') {
		i++
	}
	return i
}

// valueEnd finds the end of the value that begins at i; negative if there is none.
func valueEnd(text []byte, i int) int {
	depth := 0
	for begin := i; i < len(text); {
		switch text[i] {
		case '"':
			if i = stringEnd(text, i); i < 0 {
				return -1
			}
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 { // that of what the value, a number or a word, is in
				return endOf(begin, i)
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\n', '\t', '\r', ':':
			if depth == 0 {
				return endOf(begin, i)
			}
		}
		i++
	}
	return -1
}

func endOf(begin, i int) int {
	if begin == i {
		return -1 // there is no value
	}
	return i
}

// stringEnd finds the end of the string whose opening quote is at i; negative if it has none.
func stringEnd(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}
