# shellcheck shell=bash
# clients.sh: messages through a broker with the clients that users have. Sourced after cluster.sh; the variables
# host, mqtt_port, amqp_port, user and password say which broker.

# connect BROKER: the default user of a MessageBroker, from the Secret, and its address.
connect() {
  user=$(secret "$1" username) password=$(secret "$1" password)
  if on_local; then
    host=$1.$namespace.svc mqtt_port=1883 amqp_port=5672
  else
    host=127.0.0.1 mqtt_port=21883 amqp_port=25672   # ends of the port-forward
  fi
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

mqtt() { local command=$1; shift; in_cluster "$command" -h "$host" -p "$mqtt_port" -u "$user" -P "$password" -q 1 "$@"; }
amqp() { local command=$1; shift; in_cluster timeout 30 "$command" --url "amqp://$user:$password@$host:$amqp_port" "$@"; }

# mqtt_to_amqp TOPIC QUEUE: publish with QoS 1 to a topic whose key is bound to the queue, and consume it there.
mqtt_to_amqp() {
  local sent received
  sent="from MQTT at $(date +%s.%N)"
  mqtt mosquitto_pub -t "$1" -m "$sent"
  received=$(amqp amqp-consume -q "$2" -c 1 cat)
  same "$sent" "$received"
}
# amqp_to_mqtt TOPIC: publish to the topic exchange and receive as a subscriber. The session outlives the connection
# that made its subscription, so nothing has to guess when the subscriber is there.
amqp_to_mqtt() {
  local sent received session=hack-up-$$
  sent="from AMQP at $(date +%s.%N)"
  mqtt mosquitto_sub -i $session -c -t "$1" -E
  amqp amqp-publish -e amq.topic -r "${1//\//.}" -b "$sent"
  received=$(mqtt mosquitto_sub -i $session -c -t "$1" -C 1 -W 30)
  mqtt mosquitto_sub -i $session -t "$1" -E   # a clean session ends the kept one
  same "$sent" "$received"
}
same() { [ "$1" = "$2" ] || { echo "sent '$1', received '$2'" >&2; return 1; }; }
