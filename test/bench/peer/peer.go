// Package peer starts the brokers that are compared, each with its default settings, on loopback and in a directory of its
// own, and reads what their processes use.
package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Peer is a broker that can be started.
type Peer struct {
	Name string
	// Protocols are "mqtt" and "amqp".
	Protocols []string
	command   func(dir string, ports map[string]int) *exec.Cmd
	// before starts what the broker would otherwise leave behind as a daemon; nil when there is nothing.
	before func(ports map[string]int) *exec.Cmd
}

// Broker is a running one.
type Broker struct {
	Name  string
	dir   string
	cmd   *exec.Cmd
	ports map[string]int
	log   *os.File
	aside *exec.Cmd // what before started; not counted, and ended with the broker
}

// Peers are those that are known; turnstone is the path of its binary.
func Peers(turnstone string) []Peer {
	return []Peer{
		{Name: "turnstone", Protocols: []string{"mqtt", "amqp"}, command: func(dir string, ports map[string]int) *exec.Cmd {
			return exec.Command(turnstone, "serve", "--data", filepath.Join(dir, "data"),
				"--listen", fmt.Sprintf("mqtt://127.0.0.1:%d", ports["mqtt"]), "--listen", fmt.Sprintf("amqp://127.0.0.1:%d", ports["amqp"]))
		}},
		{Name: "mosquitto", Protocols: []string{"mqtt"}, command: func(dir string, ports map[string]int) *exec.Cmd {
			file := filepath.Join(dir, "mosquitto.conf")
			text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\n", ports["mqtt"])
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				return exec.Command("false")
			}
			return exec.Command("mosquitto", "-c", file)
		}},
		{Name: "rabbitmq", Protocols: []string{"amqp"}, command: rabbitmq, before: epmd},
	}
}

func rabbitmq(dir string, ports map[string]int) *exec.Cmd {
	cmd := exec.Command("/usr/lib/rabbitmq/bin/rabbitmq-server")
	cmd.Env = append(os.Environ(),
		"HOME="+dir, "RABBITMQ_BASE="+dir, "RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "mnesia"), "RABBITMQ_LOG_BASE="+filepath.Join(dir, "log"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "plugins"), "RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "none"),
		"RABBITMQ_NODENAME=bench"+strconv.Itoa(os.Getpid())+"@localhost", "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT="+strconv.Itoa(ports["amqp"]), "RABBITMQ_DIST_PORT="+strconv.Itoa(ports["dist"]),
		"ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT="+strconv.Itoa(ports["epmd"]),
	)
	return cmd
}

// epmd is Erlang's port mapper. RabbitMQ starts one as a daemon if there is none, which would outlive it.
func epmd(ports map[string]int) *exec.Cmd {
	return exec.Command("epmd", "-address", "127.0.0.1", "-port", strconv.Itoa(ports["epmd"]))
}

// Speaks says whether the peer knows a protocol.
func (p Peer) Speaks(protocol string) bool {
	for _, has := range p.Protocols {
		if has == protocol {
			return true
		}
	}
	return false
}

// Start starts the peer and waits until it accepts connections.
func (p Peer) Start(ctx context.Context) (*Broker, error) {
	dir, err := os.MkdirTemp("", "bench-"+p.Name+"-")
	if err != nil {
		return nil, err
	}
	b := &Broker{Name: p.Name, dir: dir, ports: map[string]int{}}
	for _, use := range []string{"mqtt", "amqp", "dist", "epmd"} {
		if b.ports[use], err = freePort(); err != nil {
			return nil, err
		}
	}
	if b.log, err = os.Create(filepath.Join(dir, "output")); err != nil {
		return nil, err
	}
	if p.before != nil {
		b.aside = p.before(b.ports)
		if err := b.aside.Start(); err != nil {
			return nil, fmt.Errorf("start %s: %w", b.aside.Path, err)
		}
	}
	b.cmd = p.command(dir, b.ports)
	b.cmd.Stdout, b.cmd.Stderr = b.log, b.log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that its children can be ended with it
	if err := b.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	for _, protocol := range p.Protocols {
		if err := b.await(ctx, protocol); err != nil {
			output, _ := os.ReadFile(b.log.Name())
			return nil, errors.Join(fmt.Errorf("%s does not answer: %w\n%s", p.Name, err, bytes.TrimSpace(output)), b.Stop())
		}
	}
	return b, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close() //nolint:errcheck // only its number is wanted
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (b *Broker) await(ctx context.Context, protocol string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := net.Dial("tcp", b.Address(protocol))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Address is where the broker speaks a protocol.
func (b *Broker) Address(protocol string) string {
	return "127.0.0.1:" + strconv.Itoa(b.ports[protocol])
}

// Usage is what the broker's processes have used so far.
type Usage struct {
	CPU  time.Duration
	Peak int64 // bytes of memory, the sum of the processes' peaks
}

// Usage reads /proc for the broker's process and its descendants.
func (b *Broker) Usage() (Usage, error) {
	var sum Usage
	found := false
	for _, pid := range descendants(b.cmd.Process.Pid) {
		u, err := usage(pid)
		if err != nil {
			continue // it ended meanwhile
		}
		found = true
		sum.CPU += u.CPU
		sum.Peak += u.Peak
	}
	if !found {
		return sum, fmt.Errorf("%s has ended", b.Name)
	}
	return sum, nil
}

// descendants are a process and all below it.
func descendants(root int) []int {
	children := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if fields := stat(pid); fields != nil {
			parent, _ := strconv.Atoi(fields[1])
			children[parent] = append(children[parent], pid)
		}
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// stat answers the fields of /proc/PID/stat after the name, the state first.
func stat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

// ticks is USER_HZ, which Linux fixes at 100 for programs.
const ticks = 100

func usage(pid int) (u Usage, err error) {
	fields := stat(pid)
	if len(fields) < 13 {
		return u, os.ErrNotExist
	}
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, err
		}
		u.CPU += time.Duration(n) * time.Second / ticks
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				return u, err
			}
			u.Peak = kb << 10
		}
	}
	return u, nil
}

// Stop ends the broker and what it started, and removes its directory.
func (b *Broker) Stop() error {
	pids := descendants(b.cmd.Process.Pid)
	b.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
	ended := make(chan struct{})
	go func() { // ends with the process
		b.cmd.Wait() //nolint:errcheck // how it ends says nothing
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
	}
	for _, pid := range pids {
		if stat(pid) != nil {
			syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it may have ended
		}
	}
	<-ended
	if b.aside != nil {
		b.aside.Process.Kill() //nolint:errcheck // it may have ended
		b.aside.Wait()         //nolint:errcheck // how it ends says nothing
	}
	return errors.Join(b.log.Close(), os.RemoveAll(b.dir))
}
