//go:build !linux

package idle

import "errors"

// Watch watches nothing here: connections keep their goroutine.
type Watch struct{}

var errUnsupported = errors.New("sockets are watched on Linux alone")

// NewWatch says that it is not supported.
func NewWatch() (*Watch, error) { return nil, errUnsupported }

// Await says that it is not supported.
func (w *Watch) Await(uintptr, Sleeper) error { return errUnsupported }

// Forget has nothing to forget.
func (w *Watch) Forget(uintptr) {}

// Run returns at once.
func (w *Watch) Run() {}

// Close has nothing to close.
func (w *Watch) Close() error { return nil }
