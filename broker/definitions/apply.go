package definitions

import (
	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// atOnce is how many objects are applied together: one entry of the log has room for them.
const atOnce = 2_000

// Apply brings what was imported into force by a function that applies changes, and says what became of it. With dryRun
// everything goes in one piece, since nothing of a first piece would be there for a second one.
func Apply(i *Imported, dryRun bool, apply func([]object.Change) ([]object.Result, error)) (client.ImportReport, error) {
	report := client.ImportReport{Skipped: i.Skipped}
	step := atOnce
	if dryRun {
		step = len(i.Objects)
	}
	for from := 0; from < len(i.Objects); from += step {
		to := min(from+step, len(i.Objects))
		changes := make([]object.Change, 0, step)
		for _, o := range i.Objects[from:to] {
			changes = append(changes, object.Change{Object: o})
		}
		results, err := apply(changes)
		if err != nil {
			return report, err
		}
		for n, r := range results {
			count(&report, i.At[from+n], r)
		}
	}
	return report, nil
}

func count(report *client.ImportReport, at string, r object.Result) {
	switch r.Outcome {
	case object.Created:
		report.Created++
	case object.Updated:
		report.Updated++
	case object.Unchanged:
		report.Unchanged++
	default:
		report.Skipped = append(report.Skipped, client.Skipped{What: at, Why: r.Message})
	}
}
