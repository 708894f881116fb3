// Package control breaks the promises of package cluster on purpose, so that the simulator can show that it would notice.
// Nothing but package sim sets these.
package control

// ApplyEarly answers writes before they are durable.
var ApplyEarly bool
