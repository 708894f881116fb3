package top

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/rivo/tview"
)

// Screen shows pictures on a terminal until its user has seen enough.
type Screen struct {
	app    *tview.Application
	title  string
	head   *tview.TextView
	table  *tview.Table
	foot   *tview.TextView
	view   View
	before Sample
	now    Sample
	failed error
	people bool // the table is that of the connections
}

// NewScreen makes one; device is nil but in tests.
func NewScreen(title string, v View, device tcell.Screen) *Screen {
	s := &Screen{app: tview.NewApplication(), title: title, view: v, head: tview.NewTextView(), table: tview.NewTable(), foot: tview.NewTextView()}
	if device != nil {
		s.app.SetScreen(device)
	}
	s.table.SetFixed(1, 0).SetSelectable(true, false)
	s.table.SetSelectedStyle(tcell.StyleDefault.Reverse(true))
	layout := tview.NewFlex().SetDirection(tview.FlexRow).AddItem(s.head, 2, 0, false).AddItem(s.table, 0, 1, true).AddItem(s.foot, 1, 0, false)
	s.app.SetRoot(layout, true).SetInputCapture(s.key)
	s.draw()
	return s
}

// Run looks every so often, and shows it, until q, Escape, Ctrl-C or the end of ctx.
func (s *Screen) Run(ctx context.Context, every time.Duration, look func(context.Context) (Sample, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { // ends with ctx
		defer close(ended)
		s.follow(ctx, every, look)
	}()
	stopped := context.AfterFunc(ctx, s.app.Stop)
	err := s.app.Run()
	stopped()
	cancel()
	<-ended
	return err
}

func (s *Screen) follow(ctx context.Context, every time.Duration, look func(context.Context) (Sample, error)) {
	for {
		sample, err := look(ctx)
		if ctx.Err() != nil {
			return
		}
		// QueueUpdate waits for the application, which may have ended: a goroutine of its own may.
		drawn := make(chan struct{})
		go func() { // ends when the application draws; when it has ended, with the process
			s.app.QueueUpdateDraw(func() { s.take(sample, err) })
			close(drawn)
		}()
		select {
		case <-drawn:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return
		}
	}
}

// take is called by the application's goroutine, as are the rest.
func (s *Screen) take(sample Sample, err error) {
	if s.failed = err; err == nil {
		s.before, s.now = s.now, sample
	}
	s.draw()
}

func (s *Screen) key(e *tcell.EventKey) *tcell.EventKey {
	switch {
	case e.Rune() == 'q', e.Key() == tcell.KeyEscape, e.Key() == tcell.KeyCtrlC:
		s.app.Stop()
	case e.Key() == tcell.KeyTab:
		s.people = !s.people
		s.table.Select(1, 0).ScrollToBeginning()
		s.draw()
	case e.Rune() == 'o':
		at := slices.Index(Orders, s.view.Order)
		s.view.Order = Orders[(at+1)%len(Orders)]
		s.draw()
	default:
		return e // the table scrolls
	}
	return nil
}

func (s *Screen) draw() {
	p := s.view.Between(s.before, s.now)
	first := s.title + "  " + s.now.At.Format("15:04:05")
	switch {
	case s.failed != nil:
		first = fmt.Sprintf("%s  no answer: %v", s.title, s.failed)
	case s.now.At.IsZero():
		first = s.title + "  …"
	}
	s.head.SetText(tview.Escape(first) + "\n" + p.Summary())
	header, rows := p.QueueTable()
	if s.people {
		header, rows = p.ConnectionTable()
	}
	s.table.Clear()
	for column, text := range header {
		s.table.SetCell(0, column, tview.NewTableCell(text).SetSelectable(false).SetAttributes(tcell.AttrBold).SetAlign(s.align(header, column)))
	}
	for row, cells := range rows {
		for column, text := range cells {
			s.table.SetCell(row+1, column, tview.NewTableCell(tview.Escape(text)).SetAlign(s.align(header, column)).SetExpansion(expansion(header[column])))
		}
	}
	what, other := "queues by "+string(s.view.Order), "connections"
	if s.people {
		what, other = "connections", "queues"
	}
	s.foot.SetText(fmt.Sprintf("%s | Tab %s | o order | ↑↓ scroll | q quit", what, other))
}

func (s *Screen) align(header []string, column int) int {
	numbers := []string{"READY", "UNACKED", "BYTES", "CONSUMERS", "IN/S", "OUT/S", "ACK/S", "CHANNELS"}
	if slices.Contains(numbers, header[column]) {
		return tview.AlignRight
	}
	return tview.AlignLeft
}

func expansion(title string) int {
	if strings.HasPrefix(title, "QUEUE") || strings.HasPrefix(title, "CLIENT") {
		return 1
	}
	return 0
}
