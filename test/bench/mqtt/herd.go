package mqtt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Herd is very many connections that say nothing. It has a descriptor for each and nothing else: no goroutine, no buffer,
// nothing in the runtime's poller. They come from as many source addresses of 127.0.0.0/8 as their ports need.
type Herd struct {
	fds []int
	o   HerdOptions
}

// HerdOptions of Gather.
type HerdOptions struct {
	Address        string // of the broker, IPv4
	Prefix         string // of the client ids
	Count          int
	User, Password string // anonymous without a user
	// Persistent clients have a session that outlives the connection, with one subscription.
	Persistent bool
}

const (
	perSource    = 1000 // connections from one address: the kernel searches long for a port when many are taken
	perNet       = 250  // source addresses that differ in the last byte
	herders      = 2    // goroutines that connect and ask
	atOnce       = 128  // connections of each of them that wait for an answer
	herdPatience = 30 * time.Second
	keepAlive    = 600  // seconds; longer than a measurement
	outlives     = 3600 // seconds
)

// Gather connects all of a herd; each client waits for its answers. Close must be called also when it fails.
func Gather(o HerdOptions) (*Herd, error) {
	h := &Herd{fds: make([]int, o.Count), o: o}
	for i := range h.fds {
		h.fds[i] = -1
	}
	address, err := net.ResolveTCPAddr("tcp4", o.Address)
	if err != nil {
		return h, err
	}
	to := &unix.SockaddrInet4{Port: address.Port, Addr: [4]byte(address.IP.To4())}
	return h, h.each(func(i int) (err error) {
		if h.fds[i], err = dialFrom(i/perSource, to); err != nil {
			return err
		}
		return h.greet(i)
	}, h.greeted)
}

// each asks something of every member, and takes its answer, until that fails for one. Many answers are waited for at a
// time, by few goroutines that seldom block.
func (h *Herd) each(ask, answer func(i int) error) error {
	var next atomic.Int64
	var all sync.WaitGroup
	failed := make(chan error, herders)
	work := func() error {
		for {
			from := int(next.Add(atOnce)) - atOnce
			to := min(from+atOnce, len(h.fds))
			for _, do := range [...]func(int) error{ask, answer} {
				for i := from; i < to; i++ {
					if err := do(i); err != nil {
						next.Store(int64(len(h.fds)))
						return fmt.Errorf("connection %d: %w", i, err)
					}
				}
			}
			if from >= len(h.fds) {
				return nil
			}
		}
	}
	for range herders {
		all.Go(func() { failed <- work() }) // ends with the last member, or a failure
	}
	all.Wait()
	close(failed)
	var err error
	for e := range failed {
		err = errors.Join(err, e)
	}
	return err
}

// dialFrom connects from source address n; what is read later comes in time or is an error.
func dialFrom(n int, to *unix.SockaddrInet4) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	patience := unix.NsecToTimeval(int64(herdPatience))
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience)
	if err == nil && to.Addr[0] == 127 {
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
			unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, byte(1 + n/perNet), byte(1 + n%perNet)}}),
		)
	}
	if err == nil {
		err = connect(fd, to)
	}
	if err != nil {
		unix.Close(fd) //nolint:errcheck // the other error says more
		return -1, err
	}
	return fd, nil
}

// connect waits until the connection is there, or is not to be.
func connect(fd int, to *unix.SockaddrInet4) error {
	err := unix.Connect(fd, to)
	if err != unix.EINTR {
		return err
	}
	if _, err := uninterrupted(func() (int, error) {
		return unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(herdPatience/time.Millisecond))
	}); err != nil {
		return err
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err
}

// uninterrupted repeats a system call that a signal ended; the runtime has its own reasons for those.
func uninterrupted(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != unix.EINTR {
			return n, err
		}
	}
}

// greet connects as a client of version 5, and subscribes if its session is persistent.
func (h *Herd) greet(i int) error {
	id := fmt.Sprintf("%s-%d", h.o.Prefix, i)
	flags, properties := byte(2), []byte{0}
	if h.o.Persistent {
		flags, properties = 0, binary.BigEndian.AppendUint32([]byte{5, 0x11}, outlives)
	}
	if h.o.User != "" {
		flags |= 0xc0
	}
	body := append(text(nil, "MQTT"), 5, flags, keepAlive>>8, keepAlive&0xff)
	body = text(append(body, properties...), id)
	if h.o.User != "" {
		body = text(text(body, h.o.User), h.o.Password)
	}
	out := packet(nil, 0x10, body)
	if h.o.Persistent {
		out = packet(out, 0x82, append(text([]byte{0, 1, 0}, "herd/"+id), 1))
	}
	return h.write(i, out)
}

func (h *Herd) write(i int, b []byte) error {
	_, err := uninterrupted(func() (int, error) { return unix.Write(h.fds[i], b) })
	return err
}

// greeted takes the answers to greet.
func (h *Herd) greeted(i int) error {
	expected := []byte{0x20}
	if h.o.Persistent {
		expected = []byte{0x20, 0x90}
	}
	return h.expect(i, expected...)
}

// expect reads packets of these types, which must not be refusals.
func (h *Herd) expect(i int, types ...byte) error {
	buf := make([]byte, 512)
	n := 0
	for len(types) > 0 {
		size, err := cut(buf[:n])
		switch {
		case err != nil:
			return err
		case size > 0 && (buf[0] != types[0] || refused(buf[:size])):
			return fmt.Errorf("answer % x", buf[:size])
		case size > 0:
			n = copy(buf, buf[size:n])
			types = types[1:]
			continue
		case n == len(buf):
			return errors.New("an answer that is too long")
		}
		got, err := uninterrupted(func() (int, error) { return unix.Read(h.fds[i], buf[n:]) })
		if err == nil && got == 0 {
			err = errors.New("the broker closed the connection")
		}
		if err != nil {
			return err
		}
		n += got
	}
	return nil
}

func refused(p []byte) bool {
	return p[0] == 0x20 && p[3] != 0 || p[0] == 0x90 && p[len(p)-1] >= 0x80
}

// Ping says which connection does not answer.
func (h *Herd) Ping() error {
	return h.each(func(i int) error { return h.write(i, []byte{0xc0, 0}) }, func(i int) error { return h.expect(i, 0xd0) })
}

// Close ends all connections, and their sessions.
func (h *Herd) Close() {
	disconnect := []byte{0xe0, 0}
	if h.o.Persistent {
		disconnect = []byte{0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0} // the session expires now
	}
	for _, fd := range h.fds {
		if fd >= 0 {
			unix.Write(fd, disconnect) //nolint:errcheck // the broker may be gone
		}
	}
	for _, fd := range h.fds {
		if fd >= 0 {
			unix.Close(fd) //nolint:errcheck // done with it
		}
	}
}
