# shellcheck shell=bash
# process.sh: the cluster's daemons. A daemon is known by its process id and start time, so a number that the kernel
# has given to another process since is never signalled. Sourced by localcluster.

started() { # started PID: when the process began, in clock ticks since boot; nothing if it is gone or a zombie
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
  set -- ${stat##*) }   # the fields after the command name, which may hold anything
  [ "$1" = Z ] || echo "${20}"
}
alive() { # alive NAME
  local pid birth
  { read -r pid birth <"$state/run/$1"; } 2>/dev/null || return 1
  [ -n "$birth" ] && [ "$(started "$pid")" = "$birth" ]
}

# spawn NAME NETNS CMD...: start a daemon in a network namespace and in the cluster's mount namespace, unless it runs.
spawn() {
  local name=$1 ns=$2 pid; shift 2
  alive "$name" && return
  setsid nsenter --net="/run/netns/$ns" --mount="/proc/$(holder)/ns/mnt" -- "$@" >>"$state/logs/$name.log" 2>&1 </dev/null 7>&- &
  pid=$!
  echo "$pid $(started "$pid")" >"$state/run/$name"
}
reap() { # reap NAME: end a daemon and its process group at once, as a power cut does, and wait until it is gone
  local pid birth
  if alive "$1"; then
    read -r pid birth <"$state/run/$1"
    kill -KILL -- "-$pid" 2>/dev/null || true   # setsid made it the leader of a group
    gone "$pid" "$birth"
  fi
  rm -f "$state/run/$1"
}
gone() { # gone PID START: wait for the end of a process that was killed
  until_true 10 "process $1 is still there" not_started "$@"
}
not_started() { [ "$(started "$1")" != "$2" ]; }

until_true() { # until_true SECONDS COMPLAINT CMD...: wait for an event that can only be polled
  local end=$((SECONDS + $1)) complaint=$2; shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt "$end" ] || { say "$complaint"; return 1; }
    sleep 0.1
  done
}

# The mount namespace of the cluster. Host paths that Kubernetes has fixed in its code (volumes, log links, shim
# sockets) lie in the cluster's own folder there, so clusters do not meet, and every mount ends with the last process.
holder() { local pid; read -r pid _ <"$state/run/mounts"; echo "$pid"; }
mount_namespace() {
  alive mounts && return
  mkdir -p "$state"/own/{volumes,container-logs,shims,cni} /tmp/hostpath_pv /var/log/containers /run/containerd/s /var/lib/cni
  rm -f "$state/own/ready"
  setsid unshare --mount --propagation private sh -c '
    set -e
    mount --bind "$0/volumes" /tmp/hostpath_pv
    mount --bind "$0/container-logs" /var/log/containers
    mount --bind "$0/shims" /run/containerd/s
    mount --bind "$0/cni" /var/lib/cni
    mount --make-rshared /
    touch "$0/ready"
    exec sleep infinity' "$state/own" >>"$state/logs/mounts.log" 2>&1 </dev/null 7>&- &
  echo "$! $(started $!)" >"$state/run/mounts"
  until_true 10 "the mount namespace did not come up, see $state/logs/mounts.log" test -f "$state/own/ready"
}
