package journal

import (
	"errors"
	"fmt"
)

// Recovered is what Open found.
func (j *Journal) Recovered() Recovery { return j.recovered }

// Replay calls fn for every record of the segments from one on, in the order in which they were appended; Batch, Free and
// Footer records are left out. It may be called before the first Append, several times. Data is valid during the call.
func (j *Journal) Replay(from uint64, fn func(Record, Position) error) error {
	var buf []byte
	for n := max(from, j.oldest); n <= j.newest; n++ {
		s := j.segments[n]
		if s == nil {
			continue
		}
		var err error
		if buf, err = j.replay(s, buf, fn); err != nil {
			return err
		}
	}
	return nil
}

// replay reads one segment into buf, which it answers.
func (j *Journal) replay(s *segment, buf []byte, fn func(Record, Position) error) ([]byte, error) {
	end := s.end
	if s.sequence == j.newest {
		end = j.end
	}
	data, err := s.load(buf, end)
	if err != nil {
		return buf, err
	}
	found, err := walk(data, s.sequence, func(r Record, p Position) error {
		if r.Type == Free {
			return nil
		}
		return fn(r, p)
	})
	if err != nil {
		return data, err
	}
	if found.end != end || s.sequence != j.newest && found.records != s.records {
		return data, &DamageError{File: s.name, Offset: found.end, What: fmt.Sprintf("%v, %d records were read", found.bad, found.records)}
	}
	return data, nil
}

// scan is what walk found.
type scan struct {
	end       int64  // behind the last whole record
	records   int    // without the journal's own
	commitEnd int64  // where the last commit ends by its Batch record
	whole     int    // commits with records of which nothing is missing
	begun     int    // records before the last commit
	released  uint64 // the oldest segment by the last Batch record
	sealed    bool   // walk ended at a footer, which begins at end
	bad       error  // why walk ended
}

var errOutside = errors.New("there is a record outside of a commit")

// count counts the commit that ends where the scan is.
func (s *scan) count() {
	if s.end == s.commitEnd && s.records > s.begun {
		s.whole++
	}
	s.begun = s.records
}

// walk reads the records of a segment, whose header was checked. An error comes from fn.
func walk(data []byte, sequence uint64, fn func(Record, Position) error) (s scan, err error) {
	s.end = headerSize
	defer func() { s.count() }()
	for s.end < int64(len(data)) {
		r, size, err := decodeRecord(data[s.end:], sequence)
		if err != nil {
			s.bad = err
			return s, nil
		}
		switch {
		case r.Type == Footer:
			s.sealed, s.bad = true, errors.New("there is a footer")
			return s, nil
		case r.Type == Batch || r.Type == LooseBatch:
			b, err := decodeBatch(r.Data, s.end)
			if err != nil {
				s.bad = err
				return s, nil
			}
			s.count()
			s.commitEnd, s.released = s.end+batchRecord+int64(b.bytes), max(s.released, b.oldest)
		case s.end+int64(size) > s.commitEnd:
			s.bad = errOutside
			return s, nil
		default:
			if err := fn(r, Position{Segment: sequence, Offset: uint32(s.end)}); err != nil {
				return s, err
			}
			s.records++
		}
		s.end += int64(size)
	}
	s.bad = errShort
	return s, nil
}
