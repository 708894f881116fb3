# shellcheck shell=bash
# clients.sh: messages through a broker with the clients that users have. Sourced after cluster.sh.

# connect BROKER: the URLs of its Secret as they are on the local cluster; elsewhere with the ends of the port-forward.
connect() {
  mqtt_url=$(secret "$1" mqtt_url) amqp_url=$(secret "$1" amqp_url)
  on_local && return
  mqtt_url=$(sed 's|@[^/]*|@127.0.0.1:21883|' <<<"$mqtt_url")
  amqp_url=$(sed 's|@[^/]*|@127.0.0.1:25672|' <<<"$amqp_url")
}
# forward BROKER: carry the two ports to this machine until the script ends.
forward() {
  local log=.build/port-forward.log end=$((SECONDS + 20))
  : >"$log"
  kubectl -n $namespace port-forward "service/$1" 21883:1883 25672:5672 >"$log" 2>&1 &
  trap 'kill '$! EXIT   # ends with this script
  until [ "$(grep -c 'Forwarding from 127' "$log")" = 2 ]; do
    [ $SECONDS -lt $end ] || { cat "$log" >&2; return 1; }
    sleep 0.1
  done
}
secret() { kube -n $namespace get secret "$1-default-user" -o "go-template={{ .data.$2 | base64decode }}"; }

# reachable SECONDS: until both ports answer; a Service takes a moment to follow its pods.
reachable() {
  local url end=$((SECONDS + $1))
  for url in "$mqtt_url" "$amqp_url"; do
    until connects "$(sed -E 's|^[^@]*@([^:/]+):([0-9]+).*|/dev/tcp/\1/\2|' <<<"$url")"; do
      [ $SECONDS -lt $end ] || { echo "${url##*@} does not answer" >&2; return 1; }
      sleep 0.2
    done
  done
}
connects() { in_cluster timeout 3 bash -c 'exec 3<>"$0"' "$1" 2>/dev/null; }

mqtt() { # mqtt PROGRAM TOPIC ARGS...
  local program=$1 topic=$2; shift 2
  in_cluster timeout 30 "$program" -L "${mqtt_url%/}/$topic" -q 1 "$@"
}
amqp() { local program=$1; shift; in_cluster timeout 30 "$program" --url "$amqp_url" "$@"; }

# mqtt_to_amqp TOPIC QUEUE: publish with QoS 1 to a topic whose key is bound to the queue, and consume it there.
mqtt_to_amqp() {
  local sent received
  sent="from MQTT at $(date +%s.%N)"
  mqtt mosquitto_pub "$1" -m "$sent"
  received=$(amqp amqp-consume -q "$2" -c 1 cat)
  same "$sent" "$received"
}
# amqp_to_mqtt TOPIC: publish to the topic exchange and receive as a subscriber. The session outlives the connection
# that made its subscription, so nothing has to guess when the subscriber is there. The message is persistent: QoS 1 in MQTT.
amqp_to_mqtt() {
  local sent received session=hack-up-$$
  sent="from AMQP at $(date +%s.%N)"
  mqtt mosquitto_sub "$1" -i $session -c -E
  amqp amqp-publish -p -e amq.topic -r "${1//\//.}" -b "$sent"
  received=$(mqtt mosquitto_sub "$1" -i $session -c -C 1)
  mqtt mosquitto_sub "$1" -i $session -E   # a clean session ends the kept one
  same "$sent" "$received"
}
same() { [ "$1" = "$2" ] || { echo "sent '$1', received '$2'" >&2; return 1; }; }
