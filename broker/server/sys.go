package server

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"time"

	"github.com/turnstone-mq/turnstone/broker/hub"
)

// The topics below $SYS/broker say how the broker does, under the names that mosquitto(8) gives them. Counts of packets
// and bytes are those of MQTT; those of messages that wait are of all queues.

// sysHost is the virtual host in which they are.
const sysHost = "/"

// announce keeps the topics up to date until the server stops.
func (s *Server) announce(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	s.running.Go(func() { s.announceAll(ctx) }) // ends when ctx does
	s.onStop(func() error {
		cancel()
		return nil
	})
	return nil
}

// announceAll looks every second whether it is time: the interval may change at any time.
func (s *Server) announceAll(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	b := &bulletin{server: s, began: time.Now()}
	for {
		b.look(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// bulletin is what is said of the broker.
type bulletin struct {
	server    *Server
	host      *hub.VirtualHost
	announcer *hub.Announcer
	began     time.Time
	last      time.Time
	most      int // clients at once
	loads     []load
}

// load is a count whose growth in a minute is averaged over 1, 5 and 15 minutes.
type load struct {
	name     string
	count    func() uint64
	before   uint64
	averages [3]float64
}

var loadMinutes = [3]float64{1, 5, 15}

func (b *bulletin) look(now time.Time) {
	every := time.Duration(b.server.hub.Config().MQTT.SysIntervalSeconds) * time.Second
	if every <= 0 {
		if b.announcer != nil {
			b.announcer.Clear()
		}
		return
	}
	if now.Sub(b.last) < every {
		return
	}
	v, err := b.server.hub.VirtualHost(sysHost)
	if err != nil {
		return // it was deleted
	}
	if v != b.host {
		b.host, b.announcer = v, v.NewAnnouncer()
		b.loads = b.newLoads()
	} else {
		b.average(now.Sub(b.last))
	}
	b.last = now
	b.publish(now)
}

func (b *bulletin) newLoads() []load {
	stats, t := b.server.mqtt.Stats(), &b.server.traffic
	all := []load{
		{name: "messages/received", count: stats.PacketsIn.Load}, {name: "messages/sent", count: stats.PacketsOut.Load},
		{name: "publish/received", count: stats.PublishesIn.Load}, {name: "publish/sent", count: stats.PublishesOut.Load},
		{name: "publish/dropped", count: b.dropped},
		{name: "bytes/received", count: stats.BytesIn.Load}, {name: "bytes/sent", count: stats.BytesOut.Load},
		{name: "sockets", count: t.accepted.Load}, {name: "connections", count: stats.Connects.Load},
	}
	for i := range all {
		all[i].before = all[i].count()
	}
	return all
}

// average takes what came in the time since the last call into the averages.
func (b *bulletin) average(since time.Duration) {
	for i := range b.loads {
		l := &b.loads[i]
		now := l.count()
		perMinute := float64(now-l.before) / since.Minutes()
		l.before = now
		for k, minutes := range loadMinutes {
			keep := math.Exp(-since.Minutes() / minutes)
			l.averages[k] = perMinute + keep*(l.averages[k]-perMinute)
		}
	}
}

func (b *bulletin) dropped() uint64 {
	return b.server.mqtt.Stats().Dropped.Load() + b.server.hub.Stats().Dropped.Load()
}

func (b *bulletin) publish(now time.Time) {
	s, h, stats := b.server, b.server.hub, b.server.mqtt.Stats()
	say := func(topic string, value any) { b.announcer.Retain("$SYS/broker/"+topic, fmt.Sprint(value)) }
	connected, sessions := s.mqtt.Count(), h.SessionCount()
	b.most = max(b.most, connected)
	subscriptions, shared := h.SubscriptionCount()
	totals := h.Totals()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)

	say("version", "turnstone version "+s.options.Version)
	say("uptime", fmt.Sprintf("%d seconds", int(now.Sub(b.began).Seconds())))
	say("clients/connected", connected)
	say("clients/disconnected", max(sessions-connected, 0))
	say("clients/total", max(sessions, connected))
	say("clients/maximum", b.most)
	say("clients/expired", h.Stats().Expired.Load())
	say("messages/received", stats.PacketsIn.Load())
	say("messages/sent", stats.PacketsOut.Load())
	say("publish/messages/received", stats.PublishesIn.Load())
	say("publish/messages/sent", stats.PublishesOut.Load())
	say("publish/messages/dropped", b.dropped())
	say("bytes/received", stats.BytesIn.Load())
	say("bytes/sent", stats.BytesOut.Load())
	say("messages/stored", totals.Ready+totals.Unacked)
	say("store/messages/count", totals.Ready+totals.Unacked)
	say("store/messages/bytes", totals.Bytes)
	say("retained messages/count", h.RetainedCount())
	say("subscriptions/count", subscriptions)
	say("shared_subscriptions/count", shared)
	say("heap/current", memory.HeapAlloc)
	say("heap/maximum", memory.HeapSys)
	for _, l := range b.loads {
		for k, minutes := range loadMinutes {
			say("load/"+l.name+"/"+strconv.Itoa(int(minutes))+"min", strconv.FormatFloat(l.averages[k], 'f', 2, 64))
		}
	}
}
