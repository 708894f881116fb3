package hub

import (
	"fmt"
	"time"

	"github.com/turnstone-mq/turnstone/broker/journal"
)

// A disk that hangs is worse than one that fails: nothing is confirmed, and nobody is told. slowSync is from when the log
// says so, hungSync from when the process ends, so that whoever runs it starts it again, perhaps elsewhere.
const (
	slowSync = 3 * time.Second
	hungSync = 30 * time.Second
)

// watch looks once a second at the fsync that is under way, and at what the broker may be short of. It ends when the hub stops.
func (h *Hub) watch(fatal func(error)) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	told := false
	for {
		select {
		case <-h.stop:
			return
		case <-tick.C:
		}
		h.watchAlarms()
		pending := h.journal.Stats().SyncPending
		switch {
		case pending >= hungSync:
			fatal(fmt.Errorf("the disk has not answered an fsync for %v", pending.Round(time.Second)))
			return
		case pending >= slowSync && !told:
			told = true
			h.logger.Warn("the disk does not answer an fsync; nothing is confirmed until it does", "seconds", pending.Seconds())
		case pending < slowSync && told:
			told = false
			h.logger.Info("the disk answers again")
		}
	}
}

// JournalStats are what the journal counts.
func (h *Hub) JournalStats() journal.Stats { return h.journal.Stats() }
