package main

// ours narrows to what is chosen above the panels.
const ours = `{namespace=~"$namespace",broker=~"$broker"}`

// perSecond is the rate of a counter, by broker; total is a gauge, by broker.
func perSecond(metric string) string {
	return `sum by (namespace, broker) (rate(` + metric + ours + `[$__rate_interval]))`
}
func total(metric string) string { return `sum by (namespace, broker) (` + metric + ours + `)` }

const byBroker = "{{namespace}}/{{broker}}"

// one shows one metric by broker.
func one(expr string) []query { return []query{{expr, byBroker}} }

func number(title, unit, expr string) panel {
	return panel{title: title, unit: unit, number: true, queries: []query{{expr, ""}}}
}

// sum of everything that is chosen.
func sum(metric string) string       { return `sum(` + metric + ours + `)` }
func sumOfRate(metric string) string { return `sum(rate(` + metric + ours + `[$__rate_interval]))` }

// several shows some counters of one broker beside one another, each under its own name.
func several(named ...[2]string) []query {
	var out []query
	for _, n := range named {
		out = append(out, query{perSecond(n[1]), n[0] + " " + byBroker})
	}
	return out
}

var dashboards = []dashboard{
	{file: "overview", title: "Overview", brokers: true, panels: []panel{
		number("Brokers", "none", `count(turnstone_build_info`+ours+`)`),
		number("Connections", "none", sum("turnstone_connections")),
		number("Published", "cps", sumOfRate("turnstone_messages_published_total")),
		number("Delivered", "cps", sumOfRate("turnstone_messages_delivered_total")),
		number("Waiting", "none", sum("turnstone_queue_messages_ready")),
		number("Alarms", "none", `sum(turnstone_alarm_disk`+ours+`) + sum(turnstone_alarm_memory`+ours+`)`),
		{title: "Messages published", unit: "cps", queries: one(perSecond("turnstone_messages_published_total"))},
		{title: "Messages delivered", unit: "cps", queries: one(perSecond("turnstone_messages_delivered_total"))},
		{title: "Messages that wait", unit: "none", queries: one(total("turnstone_queue_messages_ready"))},
		{title: "Connections", unit: "none", queries: one(total("turnstone_connections"))},
		{title: "Messages that went nowhere", unit: "cps", help: "Dropped without room, overflowed, refused by full queues.", queries: several(
			[2]string{"dropped", "turnstone_messages_dropped_total"}, [2]string{"overflowed", "turnstone_messages_overflowed_total"}, [2]string{"refused", "turnstone_messages_refused_total"})},
		{title: "CPU", unit: "none", help: "Cores in use.", queries: one(`sum by (namespace, broker) (rate(process_cpu_seconds_total` + ours + `[$__rate_interval]))`)},
		{title: "Memory", unit: "bytes", queries: one(total("process_resident_memory_bytes"))},
		{title: "Certificates end in", unit: "s", queries: one(`min by (namespace, broker) (turnstone_tls_certificate_not_after_seconds` + ours + ` > 0) - time()`)},
		{title: "Versions", unit: "none", queries: []query{{`count by (version) (turnstone_build_info` + ours + `)`, "{{version}}"}}},
	}},
	{file: "queues", title: "Queues", brokers: true, panels: []panel{
		{title: "Queues", unit: "none", help: "Those of MQTT sessions included.", queries: one(total("turnstone_queues"))},
		{title: "Messages that wait", unit: "none", queries: one(total("turnstone_queue_messages_ready"))},
		{title: "Delivered, not settled", unit: "none", queries: one(total("turnstone_queue_messages_unacked"))},
		{title: "Bytes in queues", unit: "bytes", queries: one(total("turnstone_queue_bytes"))},
		{title: "Consumers", unit: "none", queries: one(total("turnstone_consumers"))},
		{title: "Delayed messages", unit: "none", queries: one(total("turnstone_delayed_messages"))},
		{title: "Dead-lettered", unit: "cps", queries: one(perSecond("turnstone_messages_dead_lettered_total"))},
		{title: "Overflowed", unit: "cps", queries: one(perSecond("turnstone_messages_overflowed_total"))},
		{title: "Refused", unit: "cps", queries: one(perSecond("turnstone_messages_refused_total"))},
		{title: "Longest queues", unit: "none", big: true, help: "Needs /metrics/queues (perQueue of the chart).", queries: []query{
			{`topk(20, sum by (namespace, broker, vhost, queue) (turnstone_queue_ready` + ours + `))`, "{{broker}} {{vhost}} {{queue}}"}}},
		{title: "Busiest queues", unit: "cps", big: true, help: "Needs /metrics/queues (perQueue of the chart).", queries: []query{
			{`topk(20, sum by (namespace, broker, vhost, queue) (rate(turnstone_queue_published_total` + ours + `[$__rate_interval])))`, "{{broker}} {{vhost}} {{queue}}"}}},
		{title: "Queues with messages and without consumers", unit: "none", big: true, help: "Needs /metrics/queues (perQueue of the chart).", queries: []query{
			{`topk(20, turnstone_queue_ready` + ours + ` > 0 unless turnstone_queue_consumers` + ours + ` > 0)`, "{{broker}} {{vhost}} {{queue}}"}}},
	}},
	{file: "clients", title: "Clients", brokers: true, panels: []panel{
		{title: "Connections", unit: "none", queries: one(total("turnstone_connections"))},
		{title: "Sockets", unit: "none", help: "Open ones, authenticated or not.", queries: one(total("turnstone_sockets"))},
		{title: "MQTT sessions", unit: "none", queries: one(total("turnstone_sessions"))},
		{title: "Connections opened", unit: "cps", queries: several(
			[2]string{"MQTT", "turnstone_mqtt_connects_total"}, [2]string{"AMQP", "turnstone_amqp091_opened_total"})},
		{title: "Connections refused", unit: "cps", queries: several(
			[2]string{"limit", "turnstone_sockets_refused_total"}, [2]string{"user's limit", "turnstone_user_connections_refused_total"},
			[2]string{"too fast", "turnstone_connects_too_fast_total"}, [2]string{"MQTT", "turnstone_mqtt_connects_refused_total"},
			[2]string{"AMQP", "turnstone_amqp091_refused_total"})},
		{title: "Failed logins and handshakes", unit: "cps", queries: several(
			[2]string{"login", "turnstone_authentication_failures_total"}, [2]string{"TLS", "turnstone_tls_handshake_failures_total"})},
		{title: "MQTT packets", unit: "cps", queries: several(
			[2]string{"in", "turnstone_mqtt_packets_received_total"}, [2]string{"out", "turnstone_mqtt_packets_sent_total"})},
		{title: "MQTT bytes", unit: "Bps", queries: several(
			[2]string{"in", "turnstone_mqtt_bytes_received_total"}, [2]string{"out", "turnstone_mqtt_bytes_sent_total"})},
		{title: "Connections ended for a fault", unit: "cps", queries: several(
			[2]string{"MQTT malformed", "turnstone_mqtt_malformed_total"}, [2]string{"MQTT keep alive", "turnstone_mqtt_keep_alive_timeouts_total"},
			[2]string{"MQTT taken over", "turnstone_mqtt_taken_over_total"}, [2]string{"AMQP", "turnstone_amqp091_errors_total"},
			[2]string{"AMQP heartbeat", "turnstone_amqp091_timeouts_total"})},
		{title: "Rates", unit: "cps", help: "What was done about clients that send too much.", queries: several(
			[2]string{"slowed", "turnstone_rates_slowed_total"}, [2]string{"dropped", "turnstone_rates_dropped_total"}, [2]string{"disconnected", "turnstone_rates_disconnected_total"})},
		{title: "MQTT messages not delivered", unit: "cps", queries: several(
			[2]string{"no room", "turnstone_mqtt_dropped_total"}, [2]string{"too large", "turnstone_mqtt_too_large_total"}, [2]string{"denied", "turnstone_mqtt_denied_total"})},
		{title: "Events of clients", unit: "cps", queries: several(
			[2]string{"published", "turnstone_events_published_total"}, [2]string{"dropped", "turnstone_events_dropped_total"})},
	}},
	{file: "storage", title: "Storage", brokers: true, panels: []panel{
		{title: "Writes to the journal", unit: "Bps", queries: one(perSecond("turnstone_journal_bytes_total"))},
		{title: "Records", unit: "cps", queries: one(perSecond("turnstone_journal_records_total"))},
		{title: "Commits", unit: "cps", help: "Each is an fsync, but for those without.", queries: several(
			[2]string{"all", "turnstone_journal_commits_total"}, [2]string{"without fsync", "turnstone_journal_commits_without_fsync_total"})},
		{title: "Write with fsync", unit: "s", big: true, queries: []query{
			{`histogram_quantile(0.5, sum by (namespace, broker, le) (rate(turnstone_journal_sync_seconds_bucket` + ours + `[$__rate_interval])))`, "median " + byBroker},
			{`histogram_quantile(0.99, sum by (namespace, broker, le) (rate(turnstone_journal_sync_seconds_bucket` + ours + `[$__rate_interval])))`, "99 % " + byBroker}}},
		{title: "Present write has taken", unit: "s", queries: one(`max by (namespace, broker) (turnstone_journal_sync_pending_seconds` + ours + `)`)},
		{title: "Waiting for the next commit", unit: "bytes", queries: one(total("turnstone_journal_waiting_bytes"))},
		{title: "Confirmed, not durable yet", unit: "bytes", queries: one(total("turnstone_journal_unsynced_bytes"))},
		{title: "Segments on disk", unit: "none", queries: one(total("turnstone_journal_segments"))},
		{title: "Bodies in memory", unit: "bytes", queries: one(total("turnstone_durable_body_bytes"))},
		{title: "Retained messages", unit: "none", queries: one(total("turnstone_retained_messages"))},
		{title: "Disk full", unit: "none", help: "1 while publishers wait.", queries: one(`max by (namespace, broker) (turnstone_alarm_disk` + ours + `)`)},
		{title: "Memory full", unit: "none", help: "1 while publishers wait.", queries: one(`max by (namespace, broker) (turnstone_alarm_memory` + ours + `)`)},
		{title: "No room on disk", unit: "cps", queries: one(perSecond("turnstone_journal_full_total"))},
	}},
	{file: "operator", title: "Operator", panels: []panel{
		number("Objects", "none", `sum(turnstone_operator_objects)`),
		number("Ready", "none", `sum(turnstone_operator_objects{state="ready"})`),
		number("Waiting", "none", `sum(turnstone_operator_objects{state=~"reconciling|unknown"}) or vector(0)`),
		number("Stalled", "none", `sum(turnstone_operator_objects{state="stalled"}) or vector(0)`),
		number("Brokers", "none", `count(turnstone_operator_broker_ready)`),
		number("Brokers not Ready", "none", `count(turnstone_operator_broker_ready == 0) or vector(0)`),
		{title: "Objects that are not Ready", unit: "none", big: true, queries: []query{
			{`sum by (kind, state, reason) (turnstone_operator_objects{state!="ready"})`, "{{kind}} {{state}} {{reason}}"}}},
		{title: "Objects", unit: "none", queries: []query{{`sum by (kind) (turnstone_operator_objects)`, "{{kind}}"}}},
		{title: "Changes asked of brokers", unit: "cps", queries: []query{
			{`sum by (kind, outcome) (rate(turnstone_operator_changes_total[$__rate_interval]))`, "{{kind}} {{outcome}}"}}},
		{title: "Changes in a call", unit: "none", queries: []query{
			{`histogram_quantile(0.5, sum by (le) (rate(turnstone_operator_batch_changes_bucket[$__rate_interval])))`, "median"},
			{`histogram_quantile(0.99, sum by (le) (rate(turnstone_operator_batch_changes_bucket[$__rate_interval])))`, "99 %"}}},
		{title: "Calls of admin APIs", unit: "cps", queries: []query{
			{`sum by (path, code) (rate(turnstone_operator_admin_requests_total[$__rate_interval]))`, "{{path}} {{code}}"}}},
		{title: "Admin APIs answer in", unit: "s", queries: []query{
			{`histogram_quantile(0.99, sum by (path, le) (rate(turnstone_operator_admin_request_seconds_bucket[$__rate_interval])))`, "99 % {{path}}"}}},
		{title: "Calls of the Kubernetes API", unit: "cps", queries: []query{
			{`sum by (resource, verb, code) (rate(turnstone_operator_kubernetes_requests_total[$__rate_interval]))`, "{{verb}} {{resource}} {{code}}"}}},
		{title: "Reconciliations", unit: "cps", queries: []query{
			{`sum by (controller, result) (rate(controller_runtime_reconcile_total{controller=~"messagebroker|topology"}[$__rate_interval]))`, "{{controller}} {{result}}"}}},
		{title: "A reconciliation takes", unit: "s", queries: []query{
			{`histogram_quantile(0.99, sum by (controller, le) (rate(controller_runtime_reconcile_time_seconds_bucket{controller=~"messagebroker|topology"}[$__rate_interval])))`, "99 % {{controller}}"}}},
		{title: "Waiting to be looked at", unit: "none", queries: []query{
			{`sum by (name) (workqueue_depth{name=~"messagebroker|topology"})`, "{{name}}"}}},
		{title: "Memory", unit: "bytes", queries: []query{
			{`process_resident_memory_bytes and on (namespace, pod) turnstone_operator_build_info`, "{{pod}}"}}},
	}},
}
