// Command mqttmatrix writes docs/mqtt-conformance.md: each numbered statement of MQTT 3.1.1 and 5.0, the code that cites it,
// and the tests that do. It also writes the counts into docs/mqtt.md. The statements are in
// test/conformance/mqtt/statements, whose head describes the format.
//
// It fails on a citation of a statement that does not exist, and on a statement that binds servers without code or test
// and without a reason for that.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"os"
)

const (
	statementsDir = "test/conformance/mqtt/statements"
	page          = "docs/mqtt-conformance.md"
	overview      = "docs/mqtt.md"
)

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// run works in the root of the repository.
func run() error {
	older, err := readTable(statementsDir+"/mqtt311.txt", version{"3.1.1", "MQTT-"}, nil)
	if err != nil {
		return err
	}
	newer, err := readTable(statementsDir+"/mqtt5.txt", version{"5.0", "MQTT5-"}, older)
	if err != nil {
		return err
	}
	tables := []*table{older, newer}
	if err := scan(".", tables); err != nil {
		return err
	}
	share(newer)
	if err := errors.Join(older.check(), newer.check()); err != nil {
		return err
	}
	if err := os.WriteFile(page, renderPage(tables), 0o644); err != nil {
		return err
	}
	return summarize(tables)
}

// The marks between which docs/mqtt.md has the counts.
const (
	summaryBegin = "<!-- counts of hack/mqttmatrix -->\n"
	summaryEnd   = "<!-- end of counts -->\n"
)

func summarize(tables []*table) error {
	text, err := os.ReadFile(overview)
	if err != nil {
		return err
	}
	before, rest, begins := bytes.Cut(text, []byte(summaryBegin))
	_, after, ends := bytes.Cut(rest, []byte(summaryEnd))
	if !begins || !ends {
		return fmt.Errorf("%s has no lines %q and %q", overview, summaryBegin, summaryEnd)
	}
	var b bytes.Buffer
	b.Write(before)
	b.WriteString(summaryBegin)
	renderCounts(&b, tables)
	b.WriteString(summaryEnd)
	b.Write(after)
	return os.WriteFile(overview, b.Bytes(), 0o644)
}
