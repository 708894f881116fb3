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

	"golang.org/x/sys/unix"
)

// Peer is a broker that can be started.
type Peer struct {
	Name string
	// Protocols are "mqtt", "amqp" and "amqp10", which is on the port of "amqp".
	Protocols []string
	command   func(dir string, ports map[string]int) *exec.Cmd
	// before starts what the broker would otherwise leave behind as a daemon; nil when there is nothing.
	before   func(ports map[string]int) *exec.Cmd
	restarts bool     // it can be killed and started again
	lacks    []string // beginnings of the names of works that it cannot do
}

// Broker is a running one.
type Broker struct {
	Name  string
	peer  Peer
	dir   string
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has ended
	ports map[string]int
	log   *os.File
	aside *exec.Cmd // what before started; not counted, and ended with the broker
}

// Peers are those that are known; turnstone is the path of its binary, tools has the paths of those that are compiled from
// Go modules, by name.
func Peers(turnstone string, tools map[string]string) []Peer {
	return []Peer{
		{Name: "turnstone", Protocols: []string{"mqtt", "amqp", "amqp10"}, restarts: true, command: func(dir string, ports map[string]int) *exec.Cmd {
			return exec.Command(turnstone, "serve", "--data", filepath.Join(dir, "data"),
				"--listen", fmt.Sprintf("mqtt://127.0.0.1:%d", ports["mqtt"]), "--listen", fmt.Sprintf("amqp://127.0.0.1:%d", ports["amqp"]))
		}},
		{Name: "mosquitto", Protocols: []string{"mqtt"}, command: func(dir string, ports map[string]int) *exec.Cmd {
			file := filepath.Join(dir, "mosquitto.conf")
			// Its default drops what is more than 1,000 messages for a session that is away.
			text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n", ports["mqtt"])
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				return exec.Command("false")
			}
			return exec.Command("mosquitto", "-c", file)
		}},
		{Name: "nats", Protocols: []string{"mqtt"}, lacks: []string{"mqtt-share"}, command: func(dir string, ports map[string]int) *exec.Cmd {
			file := filepath.Join(dir, "nats.conf")
			text := fmt.Sprintf("server_name: bench\nhost: 127.0.0.1\nport: %d\njetstream { store_dir: %q }\nmqtt { host: 127.0.0.1, port: %d }\n", ports["dist"], dir, ports["mqtt"])
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				return exec.Command("false")
			}
			return exec.Command(tools["nats-server"], "-c", file)
		}},
		{Name: "mochi", Protocols: []string{"mqtt"}, command: func(_ string, ports map[string]int) *exec.Cmd {
			return exec.Command(tools["mochi"], "-tcp", fmt.Sprintf("127.0.0.1:%d", ports["mqtt"]),
				"-ws", fmt.Sprintf("127.0.0.1:%d", ports["dist"]), "-info", fmt.Sprintf("127.0.0.1:%d", ports["epmd"]))
		}},
		{Name: "rabbitmq", Protocols: []string{"amqp", "amqp10"}, lacks: []string{"amqp10-selector"}, command: rabbitmq, before: epmd},
	}
}

func rabbitmq(dir string, ports map[string]int) *exec.Cmd {
	plugins := filepath.Join(dir, "plugins")
	if err := os.WriteFile(plugins, []byte("[rabbitmq_amqp1_0].\n"), 0o600); err != nil {
		return exec.Command("false")
	}
	cmd := exec.Command("/usr/lib/rabbitmq/bin/rabbitmq-server")
	cmd.Env = append(os.Environ(),
		"HOME="+dir, "RABBITMQ_BASE="+dir, "RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "mnesia"), "RABBITMQ_LOG_BASE="+filepath.Join(dir, "log"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+plugins, "RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "none"),
		"RABBITMQ_NODENAME=bench"+strconv.Itoa(os.Getpid())+"@localhost", "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT="+strconv.Itoa(ports["amqp"]), "RABBITMQ_DIST_PORT="+strconv.Itoa(ports["dist"]),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}", "ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT="+strconv.Itoa(ports["epmd"]),
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

// Does says whether the peer can do a work.
func (p Peer) Does(work string) bool {
	for _, missing := range p.lacks {
		if strings.HasPrefix(work, missing) {
			return false
		}
	}
	return true
}

// attempts is how often a start is tried: the ports that it gets are free when they are chosen, and may not be a moment
// later.
const attempts = 3

// Start starts the peer and waits until it accepts connections.
func (p Peer) Start(ctx context.Context) (b *Broker, err error) {
	for range attempts {
		if b, err = p.start(ctx); err == nil || ctx.Err() != nil {
			return b, err
		}
	}
	return nil, err
}

func (p Peer) start(ctx context.Context) (*Broker, error) {
	dir, err := os.MkdirTemp("", "bench-"+p.Name+"-")
	if err != nil {
		return nil, err
	}
	b := &Broker{Name: p.Name, peer: p, dir: dir, ports: map[string]int{}}
	if err := b.begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", p.Name, err), b.Stop())
	}
	return b, nil
}

// begin takes ports and starts the processes. Stop must be called also when it fails.
func (b *Broker) begin(ctx context.Context) (err error) {
	for _, use := range []string{"mqtt", "amqp", "dist", "epmd"} {
		if b.ports[use], err = freePort(); err != nil {
			return err
		}
	}
	b.ports["amqp10"] = b.ports["amqp"]
	if b.log, err = os.Create(filepath.Join(b.dir, "output")); err != nil {
		return err
	}
	if b.peer.before != nil {
		aside := b.peer.before(b.ports)
		aside.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := aside.Start(); err != nil {
			return fmt.Errorf("%s: %w", aside.Path, err)
		}
		b.aside = aside
	}
	return b.launch(ctx)
}

// launch starts the broker's process and waits until it accepts connections.
func (b *Broker) launch(ctx context.Context) error {
	cmd := b.peer.command(b.dir, b.ports)
	cmd.Stdout, cmd.Stderr = b.log, b.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that its children can be ended with it
	if err := cmd.Start(); err != nil {
		return err
	}
	b.cmd = cmd
	b.ended = make(chan struct{})
	go func(ended chan<- struct{}) { // ends with the process
		cmd.Wait() //nolint:errcheck // how it ends says nothing
		close(ended)
	}(b.ended)
	for _, protocol := range b.peer.Protocols {
		if err := b.await(ctx, protocol); err != nil {
			output, _ := os.ReadFile(b.log.Name())
			return fmt.Errorf("it does not answer: %w\n%s", err, bytes.TrimSpace(output))
		}
	}
	return nil
}

// Restarts says whether the broker can be killed and started again on what it has stored.
func (b *Broker) Restarts() bool { return b.peer.restarts }

// Restart kills the broker as a crash does, and starts it again on the same data and ports.
func (b *Broker) Restart(ctx context.Context) error {
	b.cmd.Process.Kill() //nolint:errcheck // it may have ended
	<-b.ended
	return b.launch(ctx)
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
		case <-b.ended:
			return errors.New("the process has ended")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Address is where the broker speaks a protocol.
func (b *Broker) Address(protocol string) string {
	return "127.0.0.1:" + strconv.Itoa(b.ports[protocol])
}

// Usage is what the broker's processes have used so far.
type Usage struct {
	CPU      time.Duration
	Resident int64 // bytes of memory
	Peak     int64 // the same at its highest since ResetPeak, the sum over the processes
	// Written is bytes that the device of the broker's directory has written for anybody: what /proc/PID/io says counts
	// whole folios, of up to a megabyte, for each byte that is changed in them.
	Written int64
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
		sum.Resident += u.Resident
		sum.Peak += u.Peak
	}
	if !found {
		return sum, fmt.Errorf("%s has ended", b.Name)
	}
	var err error
	sum.Written, err = writtenTo(b.dir)
	return sum, err
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
	memory, err := named(pid, "status", "VmRSS:", "VmHWM:")
	if err != nil {
		return u, err
	}
	u.Resident, u.Peak = memory["VmRSS:"]<<10, memory["VmHWM:"]<<10
	return u, nil
}

// writtenTo is how many bytes the device that holds a directory has written; zero when the system does not count them.
func writtenTo(dir string) (int64, error) {
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return 0, fmt.Errorf("device of %s: %w", dir, err)
	}
	text, err := os.ReadFile("/proc/diskstats")
	if err != nil {
		return 0, err
	}
	device := []string{strconv.Itoa(int(unix.Major(stat.Dev))), strconv.Itoa(int(unix.Minor(stat.Dev)))}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 9 && f[0] == device[0] && f[1] == device[1] {
			sectors, err := strconv.ParseInt(f[9], 10, 64)
			return sectors * 512, err
		}
	}
	return 0, nil
}

// named reads numbers by their names from a file of /proc/PID.
func named(pid int, file string, names ...string) (map[string]int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return nil, err
	}
	out := make(map[string]int64)
	for line := range strings.Lines(string(text)) {
		for _, name := range names {
			rest, ok := strings.CutPrefix(line, name)
			if !ok {
				continue
			}
			if out[name], err = strconv.ParseInt(strings.Fields(rest)[0], 10, 64); err != nil {
				return nil, fmt.Errorf("%s of /proc/PID/%s: %w", name, file, err)
			}
		}
	}
	return out, nil
}

// ResetPeak begins a new measurement of the highest memory.
func (b *Broker) ResetPeak() error {
	for _, pid := range descendants(b.cmd.Process.Pid) {
		err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("reset the peak of memory: %w", err)
		}
	}
	return nil
}

// OwnCPU is what this process has used, so that one sees whether the load is the bottleneck.
func OwnCPU() time.Duration {
	u, err := usage(os.Getpid())
	if err != nil {
		return 0 // it is for information
	}
	return u.CPU
}

// Profile records where the broker spends its time into a file of perf, until the function that it answers is called.
func (b *Broker) Profile(file string) (stop func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	perf := exec.Command("perf", "record", "-F", "499", "-g", "-p", strconv.Itoa(b.cmd.Process.Pid), "-o", file)
	if err := perf.Start(); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return func() error {
		perf.Process.Signal(os.Interrupt) //nolint:errcheck // it may have ended
		perf.Wait()                       //nolint:errcheck // it ends by the signal
		_, err := os.Stat(file)
		return err
	}, nil
}

// Stop ends the broker and what it started, and removes its directory.
func (b *Broker) Stop() error {
	if b.cmd != nil {
		b.end()
	}
	if b.aside != nil {
		syscall.Kill(-b.aside.Process.Pid, syscall.SIGKILL) //nolint:errcheck // it may have ended
		b.aside.Wait()                                      //nolint:errcheck // how it ends says nothing
	}
	var err error
	if b.log != nil {
		err = b.log.Close()
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// end ends the broker's process group, and those of its descendants that left it.
func (b *Broker) end() {
	pids := descendants(b.cmd.Process.Pid)
	b.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
	select {
	case <-b.ended:
	case <-time.After(20 * time.Second):
	}
	syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) //nolint:errcheck // it may have ended
	for _, pid := range pids {
		if stat(pid) != nil {
			syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it may have ended
		}
	}
	<-b.ended
}
