// Command matrix writes docs/mqtt-conformance.md and docs/amqp10-conformance.md: each numbered statement of MQTT 3.1.1 and 5.0,
// and each section of AMQP 1.0 that asks something of a broker, the code that cites it, and the tests that do. It also writes the
// counts into docs/mqtt.md and docs/amqp10.md. The statements are in directories named statements below test/conformance; the
// heads of the files describe the format.
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
	mqttStatements   = "test/conformance/mqtt/statements"
	amqp10Statements = "test/conformance/amqp10/statements"
)

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// run works in the root of the repository.
func run() error {
	older, err := readTable(mqttStatements+"/mqtt311.txt", version{"MQTT 3.1.1", "MQTT-", checkNumber}, nil)
	if err != nil {
		return err
	}
	newer, err := readTable(mqttStatements+"/mqtt5.txt", version{"MQTT 5.0", "MQTT5-", checkNumber}, older)
	if err != nil {
		return err
	}
	sections, err := readTable(amqp10Statements+"/amqp10.txt", version{"AMQP 1.0", prefixAMQP10, checkSection}, nil)
	if err != nil {
		return err
	}
	if err := scan(".", []*table{older, newer, sections}); err != nil {
		return err
	}
	share(newer)
	if err := errors.Join(older.verify(), newer.verify(), sections.verify()); err != nil {
		return err
	}
	return errors.Join(
		write("docs/mqtt-conformance.md", "docs/mqtt.md", mqttIntro, []*table{older, newer}),
		write("docs/amqp10-conformance.md", "docs/amqp10.md", amqp10Intro, []*table{sections}),
	)
}

// write writes the page of some tables, and their counts into an overview.
func write(page, overview, intro string, tables []*table) error {
	if err := os.WriteFile(page, renderPage(intro, tables), 0o644); err != nil {
		return err
	}
	return summarize(overview, tables)
}

// The marks between which an overview has the counts.
const (
	summaryBegin = "<!-- counts of hack/matrix -->\n"
	summaryEnd   = "<!-- end of counts -->\n"
)

func summarize(overview string, tables []*table) error {
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
