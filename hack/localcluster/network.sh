# shellcheck shell=bash
# network.sh: a network namespace each for the control plane, the client machine and every node, joined by a bridge that
# lives in the control plane's. Nothing leaves the machine. Every cluster has the same addresses: they never meet.
# Sourced by localcluster.

control=lc-$cluster-control
client=lc-$cluster-client
control_ip=192.0.2.1
client_ip=192.0.2.2
node_ns() { echo "lc-$cluster-node-$1"; }
node_ip() { echo "192.0.2.$((10 + $1))"; }
in_ns() { local ns=$1; shift; nsenter --net="/run/netns/$ns" -- "$@"; }

network() { # network NODES: adds what is missing, so that a cluster can grow and an interrupted start can be resumed
  local n
  [ -e "/run/netns/$control" ] || ip netns add "$control"
  ip -n "$control" link set lo up
  ip -n "$control" link show bridge >/dev/null 2>&1 || ip -n "$control" link add bridge type bridge
  ip -n "$control" addr replace $control_ip/24 dev bridge
  ip -n "$control" link set bridge up
  in_ns "$control" sysctl -qw net.ipv4.ip_forward=1
  join "$client" $client_ip client
  for n in $(seq "$1"); do join "$(node_ns "$n")" "$(node_ip "$n")" "node-$n"; done
  routes "$1" "$control" $control_ip
  routes "$1" "$client" $client_ip
  for n in $(seq "$1"); do routes "$1" "$(node_ns "$n")" "$(node_ip "$n")"; done
}
join() { # join NETNS IP PORT: plug a namespace into the bridge, unless it is; its default route is the last thing it gets
  ip -n "$1" route show default 2>/dev/null | grep -q . && return
  [ -e "/run/netns/$1" ] || ip netns add "$1"
  ip -n "$control" link del "$3" 2>/dev/null || true   # half-made
  ip -n "$control" link add "$3" type veth peer name eth0 netns "$1"
  ip -n "$control" link set "$3" master bridge up
  ip -n "$1" link set lo up
  ip -n "$1" addr add "$2/24" dev eth0
  ip -n "$1" link set eth0 up
  in_ns "$1" sysctl -qw net.ipv4.ip_forward=1
  in_ns "$1" sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true   # only where the module is loaded
  ip -n "$1" route add default via $control_ip
}
routes() { # routes NODES NETNS IP: the way to the pods of every other node
  local n
  for n in $(seq "$1"); do
    [ "$(node_ip "$n")" = "$3" ] || ip -n "$2" route replace "198.18.$n.0/24" via "$(node_ip "$n")"
  done
}
unplug() { # remove the namespaces of this cluster and no other: the name is followed by one of three words
  local ns
  for ns in $(ip netns list | awk '{print $1}' | grep -E "^lc-$cluster-(control|client|node-[0-9]+)\$"); do ip netns del "$ns"; done
}
