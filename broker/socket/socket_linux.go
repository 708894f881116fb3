package socket

import (
	"syscall"
	"unsafe"
)

// Read reads what is there, as read(2) does. Zero bytes without an error are the end of the stream; syscall.EAGAIN says that
// nothing is there now.
func Read(fd uintptr, b []byte) (n int, err error) { return call(syscall.SYS_READ, fd, b) }

// Write writes as much as there is room for, as write(2) does; syscall.EAGAIN says that there is none now.
func Write(fd uintptr, b []byte) (n int, err error) { return call(syscall.SYS_WRITE, fd, b) }

func call(number, fd uintptr, b []byte) (int, error) {
	for {
		n, _, e := syscall.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch e {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, e
		}
	}
}
