# network.sh: a network namespace each for the control plane, the client machine and every node, joined by a bridge that
# lives in the control plane's. Nothing leaves the machine. Every cluster has the same addresses: they never meet.
# Sourced by localcluster.

control=lc-$name-control
client=lc-$name-client
control_ip=192.0.2.1
client_ip=192.0.2.2
node_ns() { echo "lc-$name-node-$1"; }
node_ip() { echo "192.0.2.$((10 + $1))"; }
in_ns() { local ns=$1; shift; nsenter --net="/run/netns/$ns" -- "$@"; }

network() { # network NODES: adds what is missing, so a cluster can grow
  local n
  if [ ! -e "/run/netns/$control" ]; then
    ip netns add "$control"
    ip -n "$control" link set lo up
    ip -n "$control" link add bridge type bridge
    ip -n "$control" addr add $control_ip/24 dev bridge
    ip -n "$control" link set bridge up
    in_ns "$control" sysctl -qw net.ipv4.ip_forward=1
  fi
  join "$client" $client_ip client
  for n in $(seq "$1"); do join "$(node_ns "$n")" "$(node_ip "$n")" "node-$n"; done
  routes "$1" "$control" $control_ip
  routes "$1" "$client" $client_ip
  for n in $(seq "$1"); do routes "$1" "$(node_ns "$n")" "$(node_ip "$n")"; done
}
join() { # join NETNS IP PORT: plug a new namespace into the bridge
  ip -n "$1" link show eth0 >/dev/null 2>&1 && return
  [ -e "/run/netns/$1" ] || ip netns add "$1"
  ip -n "$control" link add "$3" type veth peer name eth0 netns "$1"
  ip -n "$control" link set "$3" master bridge up
  ip -n "$1" link set lo up
  ip -n "$1" addr add "$2/24" dev eth0
  ip -n "$1" link set eth0 up
  ip -n "$1" route add default via $control_ip
  in_ns "$1" sysctl -qw net.ipv4.ip_forward=1
  in_ns "$1" sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true   # only where the module is loaded
}
routes() { # routes NODES NETNS IP: the way to the pods of every other node
  local n
  for n in $(seq "$1"); do
    [ "$(node_ip "$n")" = "$3" ] || ip -n "$2" route replace "198.18.$n.0/24" via "$(node_ip "$n")"
  done
}
unplug() { # remove the namespaces of this cluster and no other: the name is followed by one of three words
  local ns
  for ns in $(ip netns list | awk '{print $1}' | grep -E "^lc-$name-(control|client|node-[0-9]+)\$"); do ip netns del "$ns"; done
}
