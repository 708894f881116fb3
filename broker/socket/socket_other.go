//go:build !linux

package socket

import "syscall"

// Read reads what is there, as read(2) does. Zero bytes without an error are the end of the stream; syscall.EAGAIN says that
// nothing is there now.
func Read(fd uintptr, b []byte) (n int, err error) { return call(syscall.Read, fd, b) }

// Write writes as much as there is room for, as write(2) does; syscall.EAGAIN says that there is none now.
func Write(fd uintptr, b []byte) (n int, err error) { return call(syscall.Write, fd, b) }

func call(f func(int, []byte) (int, error), fd uintptr, b []byte) (int, error) {
	for {
		n, err := f(int(fd), b)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}
