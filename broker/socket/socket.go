// Package socket reads from and writes to sockets that do not block, without what the runtime does around system calls.
//
// The runtime takes every system call for one that may block. It wakes its monitor thread when one begins while that
// sleeps, and gives the caller's processor away when one takes longer than some twenty microseconds, which a write of many
// packets does: the kernel carries them to the receiver meanwhile. The caller then has to queue for a processor. A call that
// never waits for anything needs none of that, as little as the copying of as many bytes would.
//
// The descriptors are those that syscall.RawConn passes to its callbacks: a socket of package net is in non-blocking mode
// and stays open during the callback.
package socket
