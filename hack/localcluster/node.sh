# shellcheck shell=bash
# node.sh: a worker node: containerd, kubelet and kube-proxy in the node's network namespace. Sourced by localcluster.

node_dir() { echo "$state/node-$1"; }

start_node() { # start_node N
  local n=$1 dir ns; dir=$(node_dir "$n"); ns=$(node_ns "$n")
  mkdir -p "$dir/cni"
  containerd_config "$n" >"$dir/containerd.toml"
  cni_config "$n" >"$dir/cni/10-bridge.conflist"
  kubelet_config "$n" >"$dir/kubelet.yaml"
  kubeconfig_for "node-$n" "$dir/kubeconfig"
  spawn "containerd-$n" "$ns" containerd -c "$dir/containerd.toml"
  until_true 20 "containerd does not answer, see $state/logs/containerd-$n.log" containers "$n" version
  load_into "$n" "$images/pause.tar"
  load_into "$n" "$images/coredns.tar"
  spawn "kubelet-$n" "$ns" "$bin/kubelet" --config="$dir/kubelet.yaml" --kubeconfig="$dir/kubeconfig" \
    --hostname-override="node-$n" --node-ip="$(node_ip "$n")" --root-dir="$dir/kubelet" --cert-dir="$dir/pki"
  spawn "proxy-$n" "$ns" "$bin/kube-proxy" --config="$(proxy_config "node-$n")"
}

# stop_node N: as if the machine lost power: nothing is asked to stop in order.
stop_node() {
  local n=$1 shim pids=()
  reap "kubelet-$n"; reap "proxy-$n"; reap "containerd-$n"
  for shim in $(shims "$n"); do
    # The first process of each container is a child of its shim; the rest of the container ends with it.
    read -ra children <"/proc/$shim/task/$shim/children" || true
    pids+=("${children[@]}" "$shim")
  done
  [ ${#pids[@]} = 0 ] || kill -KILL "${pids[@]}" 2>/dev/null || true
}

# forget_containers N: the control groups of a stopped node's containers, which nobody is left to remove.
forget_containers() {
  local bundle group
  for bundle in "$(node_dir "$1")"/containerd-run/io.containerd.runtime.v2.task/k8s.io/*/; do
    for group in /sys/fs/cgroup/{,*/}k8s.io/"$(basename "$bundle")"; do
      [ -d "$group" ] && until_true 5 "$group is busy" rmdir "$group"
    done
  done
  true
}

# shims N: the process ids of the container shims that hang on this node's containerd and no other.
shims() {
  local socket file
  socket=$(node_dir "$1")/containerd.sock
  for file in /proc/[0-9]*/cmdline; do
    if tr '\0' '\n' 2>/dev/null <"$file" | grep -qxF -- "$socket" && [[ $(readlink "${file%/cmdline}/exe") == *containerd-shim* ]]; then
      basename "${file%/cmdline}"
    fi
  done 2>/dev/null
}

containers() { local n=$1; shift; ctr -a "$(node_dir "$n")/containerd.sock" -n k8s.io "$@"; }
load_into() { containers "$1" images import "$2" >/dev/null; }

containerd_config() {
  local dir; dir=$(node_dir "$1")
  cat <<TOML
version = 2
root = "$dir/containerd"
state = "$dir/containerd-run"
[grpc]
  address = "$dir/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$dir/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:local"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$cni_bin"
    conf_dir = "$dir/cni"
TOML
}

cni_config() {
  cat <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$(node_dir "$1")/ipam", "ranges": [[{"subnet": "198.18.$1.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
}

kubelet_config() {
  local dir; dir=$(node_dir "$1")
  cat <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
featureGates: {InPlacePodVerticalScaling: false} # it needs cgroups: the kubelet ends when it looks at a container that differs
enforceNodeAllocatable: []
oomScoreAdj: 0
containerRuntimeEndpoint: unix://$dir/containerd.sock
podLogsDir: $dir/pod-logs
volumePluginDir: $dir/volume-plugins
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: $pki/ca.crt}, webhook: {enabled: true}}
authorization: {mode: Webhook}
clusterDNS: [198.19.0.10]
clusterDomain: cluster.local
resolvConf: ""
failSwapOn: false
evictionHard: {nodefs.available: "1%", imagefs.available: "1%", memory.available: 100Mi}
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 4s
syncFrequency: 10s # how soon a changed Secret or ConfigMap is in a pod; a minute otherwise
tlsCertFile: $pki/node-$1.crt
tlsPrivateKeyFile: $pki/node-$1.key
YAML
}
