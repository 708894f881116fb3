// Command kubectl-turnstone is the kubectl plugin: in the PATH, kubectl runs it as kubectl turnstone.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/turnstone-mq/turnstone/plugin"
)

// Set by the linker: -ldflags "-X main.version=… -X main.commit=…".
var (
	version = "0.1.0-dev"
	commit  = "unknown"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	streams := plugin.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	code := plugin.Run(ctx, os.Args[1:], streams, plugin.Version{Version: version, Commit: commit})
	stop()
	os.Exit(code)
}
