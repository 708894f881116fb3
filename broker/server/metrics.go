package server

import (
	"github.com/turnstone-mq/turnstone/broker/metrics"
)

// expose registers what the broker counts. docs/operations.md has the table, and a test compares the two.
func (s *Server) expose() {
	m, stats, t := s.metrics, s.hub.Stats(), &s.traffic
	m.Counter("turnstone_messages_published_total", "Messages taken from publishers.", stats.Published.Load)
	m.Counter("turnstone_messages_delivered_total", "Messages given to consumers, MQTT QoS 0 included.", stats.Delivered.Load)
	m.Counter("turnstone_messages_refused_total", "Messages that a full queue refused.", stats.Refused.Load)
	m.Counter("turnstone_messages_dropped_total", "Messages of MQTT QoS 0 that found no room or no connection.", stats.Dropped.Load)
	m.Counter("turnstone_messages_overflowed_total", "Messages that went for good because a queue, or the queue of an MQTT session, was full.", stats.Overflowed.Load)
	m.Counter("turnstone_messages_dead_lettered_total", "Messages sent to a dead-letter exchange.", stats.DeadLettered.Load)
	m.Counter("turnstone_retained_refused_total", "Retained messages over limits.retainedMessages.", stats.RetainRefused.Load)
	m.Gauge("turnstone_retained_messages", "Retained messages that are stored.", func() float64 { return float64(s.hub.RetainedCount()) })
	m.Gauge("turnstone_delayed_messages", "Messages that wait for the time at which they are to be delivered.", func() float64 { return float64(s.hub.DelayedCount()) })
	m.Gauge("turnstone_sessions", "MQTT sessions, connected or not.", func() float64 { return float64(s.hub.SessionCount()) })
	m.Counter("turnstone_sessions_expired_total", "MQTT sessions that expired.", stats.Expired.Load)
	m.Gauge("turnstone_durable_body_bytes", "Bodies of durable messages kept in memory.", func() float64 { return float64(s.hub.BodyBytes()) })
	m.Gauge("turnstone_alarm_memory", "1 while publishers wait because transient messages fill limits.memoryBytes.", func() float64 { low, _ := s.hub.Low(); return gaugeOf(low) })
	m.Gauge("turnstone_alarm_disk", "1 while publishers wait because the disk is full.", func() float64 { _, low := s.hub.Low(); return gaugeOf(low) })
	m.Gauge("turnstone_metadata_revision", "Revision of the metadata.", func() float64 { return float64(s.hub.Revision()) })
	m.Gauge("turnstone_sockets", "Open sockets of every listener.", func() float64 { return float64(t.open.Load()) })
	m.Counter("turnstone_sockets_accepted_total", "Sockets accepted by any listener.", t.accepted.Load)
	m.Counter("turnstone_sockets_refused_total", "Sockets closed at once because of limits.connections.", t.refused.Load)
	m.Counter("turnstone_tls_handshake_failures_total", "TLS handshakes that did not come to an end.", t.handshakeFailures.Load)
	m.Counter("turnstone_reload_failures_total", "Changed TLS or configuration files that could not be used.", t.reloadFailures.Load)
	m.Gauge("turnstone_tls_certificate_not_after_seconds", "When the certificate in force ends, in seconds since 1970; 0 without TLS.", s.certificates.notAfter)
	m.Counter("turnstone_authentication_failures_total", "Logins with a wrong name, password or certificate.", s.hub.Authority().Failures)
	m.Counter("turnstone_password_verifications_total", "Passwords verified against a hash; known ones take none.", s.hub.Authority().Verifications)
	m.Counter("turnstone_rates_slowed_total", "Times when a publisher was held back by a rate.", stats.RateSlowed.Load)
	m.Counter("turnstone_rates_dropped_total", "Messages that were dropped or refused because of a rate.", stats.RateDropped.Load)
	m.Counter("turnstone_rates_disconnected_total", "Connections that were ended because of a rate.", stats.RateEnded.Load)
	m.Counter("turnstone_connects_too_fast_total", "Connections refused because their client or user connects too often.", stats.ConnectsRefused.Load)
	m.Counter("turnstone_user_connections_refused_total", "Connections refused because their user has as many as it may.", stats.UserFull.Load)
	m.Counter("turnstone_events_published_total", "Events of clients that were published below $events/.", stats.EventsPublished.Load)
	m.Counter("turnstone_events_dropped_total", "Events of clients that were dropped because too many waited.", stats.EventsDropped.Load)
	m.Gauge("turnstone_journal_segments", "Segments of the journal on disk.", func() float64 { return float64(s.hub.JournalSegments()) })
	s.exposeJournal()
	m.Group(s.overQueues())
	m.Group(s.byProtocol())
	s.exposeMQTT()
	s.exposeAMQP091()
	s.exposeAMQP10()
}

func gaugeOf(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

func (s *Server) exposeJournal() {
	m, stats := s.metrics, s.hub.JournalStats
	m.Counter("turnstone_journal_commits_total", "Group commits, one fsync each but for those without.", func() uint64 { return stats().Commits })
	m.Counter("turnstone_journal_commits_without_fsync_total", "Group commits that confirmed messages before they were durable, as durability interval or none asks.", func() uint64 { return stats().Relaxed })
	m.Gauge("turnstone_journal_unsynced_bytes", "Bytes that were confirmed and are not durable yet.", func() float64 { return float64(stats().Unsynced) })
	m.Counter("turnstone_journal_records_total", "Records written to the journal.", func() uint64 { return stats().Records })
	m.Counter("turnstone_journal_bytes_total", "Bytes written to the journal.", func() uint64 { return stats().Bytes })
	m.Counter("turnstone_journal_full_total", "Times when the disk had no room.", func() uint64 { return stats().Refused })
	m.Gauge("turnstone_journal_waiting_bytes", "Bytes that wait for the next commit.", func() float64 { return float64(stats().Waiting) })
	m.Gauge("turnstone_journal_sync_pending_seconds", "How long the present write and fsync has taken; 0 when there is none.", func() float64 { return stats().SyncPending.Seconds() })
	m.Histogram("turnstone_journal_sync_seconds", "How long writes with their fsync took.", func() metrics.Histogram {
		v := stats()
		h := metrics.Histogram{Counts: v.SyncTimes[:], Sum: v.SyncTime.Seconds()}
		for i := range len(v.SyncTimes) - 1 {
			h.Bounds = append(h.Bounds, float64(uint64(1)<<i)/1e6)
		}
		return h
	})
}

func (s *Server) exposeAMQP10() {
	m, stats := s.metrics, s.amqp10.Stats()
	m.Counter("turnstone_amqp10_opened_total", "AMQP 1.0 connections that were opened.", stats.Opened.Load)
	m.Counter("turnstone_amqp10_refused_total", "AMQP 1.0 connections whose credentials or virtual host were refused.", stats.Refused.Load)
	m.Counter("turnstone_amqp10_session_errors_total", "AMQP 1.0 sessions that the broker ended.", stats.SessionErrors.Load)
	m.Counter("turnstone_amqp10_link_errors_total", "AMQP 1.0 links that the broker refused or detached.", stats.LinkErrors.Load)
	m.Counter("turnstone_amqp10_errors_total", "AMQP 1.0 connections that the broker closed because of what the peer did.", stats.Errors.Load)
	m.Counter("turnstone_amqp10_timeouts_total", "AMQP 1.0 connections closed because nothing came for twice the idle timeout.", stats.TimedOut.Load)
}

func (s *Server) exposeAMQP091() {
	m, stats := s.metrics, s.amqp091.Stats()
	m.Counter("turnstone_amqp091_opened_total", "AMQP 0-9-1 connections that were opened.", stats.Opened.Load)
	m.Counter("turnstone_amqp091_refused_total", "AMQP 0-9-1 connections whose credentials or virtual host were refused.", stats.Refused.Load)
	m.Counter("turnstone_amqp091_channel_errors_total", "AMQP 0-9-1 channels that the broker closed.", stats.ChannelErrors.Load)
	m.Counter("turnstone_amqp091_errors_total", "AMQP 0-9-1 connections that the broker closed because of what the peer did.", stats.Errors.Load)
	m.Counter("turnstone_amqp091_timeouts_total", "AMQP 0-9-1 connections without a heartbeat.", stats.TimedOut.Load)
}

func (s *Server) exposeMQTT() {
	m, stats := s.metrics, s.mqtt.Stats()
	m.Counter("turnstone_mqtt_connects_total", "CONNECT packets that were accepted.", stats.Connects.Load)
	m.Counter("turnstone_mqtt_connects_refused_total", "CONNECT packets that were answered with an error.", stats.Refused.Load)
	m.Counter("turnstone_mqtt_malformed_total", "Connections ended because of a packet that breaks the protocol or a limit.", stats.Malformed.Load)
	m.Counter("turnstone_mqtt_keep_alive_timeouts_total", "Connections ended by keep alive.", stats.TimedOut.Load)
	m.Counter("turnstone_mqtt_taken_over_total", "Connections ended because their client connected again.", stats.TakenOver.Load)
	m.Counter("turnstone_mqtt_dropped_total", "Messages of QoS 0 for connections without room.", stats.Dropped.Load)
	m.Counter("turnstone_mqtt_packets_received_total", "MQTT control packets that came.", stats.PacketsIn.Load)
	m.Counter("turnstone_mqtt_packets_sent_total", "MQTT control packets that were sent, acknowledgements apart.", stats.PacketsOut.Load)
	m.Counter("turnstone_mqtt_bytes_received_total", "Bytes of MQTT control packets that came.", stats.BytesIn.Load)
	m.Counter("turnstone_mqtt_bytes_sent_total", "Bytes of MQTT control packets that were sent.", stats.BytesOut.Load)
	m.Counter("turnstone_mqtt_denied_total", "Messages of clients of MQTT 5 that were refused with a reason, or dropped with QoS 0.", stats.Denied.Load)
	m.Counter("turnstone_mqtt_too_large_total", "Deliveries that were larger than their client takes.", stats.TooLarge.Load)
}

// overQueues sums up what queues hold.
func (s *Server) overQueues() metrics.Group {
	return metrics.Group{
		Metrics: []metrics.Metric{
			{Name: "turnstone_queues", Help: "Queues, those of MQTT sessions included."},
			{Name: "turnstone_queue_messages_ready", Help: "Messages that wait in queues."},
			{Name: "turnstone_queue_messages_unacked", Help: "Messages delivered and not settled."},
			{Name: "turnstone_queue_bytes", Help: "Bytes of the messages in queues."},
			{Name: "turnstone_consumers", Help: "Consumers of queues, connected MQTT sessions included."},
		},
		Read: func(emit func(metrics.Sample)) {
			t := s.hub.Totals()
			for i, v := range []float64{float64(t.Queues), float64(t.Ready), float64(t.Unacked), float64(t.Bytes), float64(t.Consumers)} {
				emit(metrics.Sample{Metric: i, Value: v})
			}
		},
	}
}

// byProtocol counts authenticated connections.
func (s *Server) byProtocol() metrics.Group {
	return metrics.Group{
		Metrics: []metrics.Metric{{Name: "turnstone_connections", Help: "Authenticated connections."}},
		Labels:  []string{"protocol"},
		Read: func(emit func(metrics.Sample)) {
			for name, e := range s.endpoints {
				emit(metrics.Sample{Value: float64(e.Count()), Labels: []string{name}})
			}
		},
	}
}

// byQueue is every queue by itself, on request.
func (s *Server) byQueue() metrics.Group {
	return metrics.Group{
		Metrics: []metrics.Metric{
			{Name: "turnstone_queue_ready", Help: "Messages that wait in the queue."},
			{Name: "turnstone_queue_unacked", Help: "Messages delivered and not settled."},
			{Name: "turnstone_queue_size_bytes", Help: "Bytes of the messages in the queue."},
			{Name: "turnstone_queue_consumers", Help: "Consumers of the queue."},
			{Name: "turnstone_queue_published_total", Help: "Messages enqueued since the queue was opened.", Counts: true},
			{Name: "turnstone_queue_delivered_total", Help: "Messages delivered since the queue was opened.", Counts: true},
			{Name: "turnstone_queue_settled_total", Help: "Messages settled since the queue was opened.", Counts: true},
		},
		Labels: []string{"vhost", "queue"},
		Read: func(emit func(metrics.Sample)) {
			for _, q := range s.hub.Inspect("") {
				values := []float64{
					float64(q.Ready), float64(q.Unacked), float64(q.Bytes), float64(q.Consumers),
					float64(q.Published), float64(q.Delivered), float64(q.Settled),
				}
				for i, v := range values {
					emit(metrics.Sample{Metric: i, Value: v, Labels: []string{q.VirtualHost, q.Name}})
				}
			}
		},
	}
}
