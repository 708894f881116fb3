package server

import (
	"context"
	"fmt"
	"os"

	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/definitions"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// mostDefinitions bounds a file that is read as a whole.
const mostDefinitions = 256 << 20

// loadDefinitions brings the configured file into force. What cannot be taken over is logged, and the broker starts.
func (s *Server) loadDefinitions(ctx context.Context) error {
	name := s.options.Config.Definitions
	if name == "" {
		return nil
	}
	if info, err := os.Stat(name); err == nil && info.Size() > mostDefinitions {
		return fmt.Errorf("definitions: %s is longer than %d bytes: import it in parts by the admin API", name, mostDefinitions)
	}
	file, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("definitions: %w", err)
	}
	imported, err := definitions.Import(file, "")
	if err != nil {
		return fmt.Errorf("definitions: %s: %w", name, err)
	}
	report, err := definitions.Apply(imported, false, func(changes []object.Change) ([]object.Result, error) {
		return s.hub.Apply(ctx, catalog.Anyone, changes, hub.ApplyOptions{})
	})
	if err != nil {
		return fmt.Errorf("definitions: %s: %w", name, err)
	}
	for _, skipped := range report.Skipped {
		s.logger.Warn("definition was not taken over", "file", name, "what", skipped.What, "why", skipped.Why)
	}
	s.logger.Info("definitions are in force", "file", name, "created", report.Created, "updated", report.Updated, "unchanged", report.Unchanged, "skipped", len(report.Skipped))
	return nil
}
