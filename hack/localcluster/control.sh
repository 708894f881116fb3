# shellcheck shell=bash
# control.sh: the control plane, and what every cluster has beside its nodes. Sourced by localcluster.

kube() { in_ns "$control" env KUBECONFIG="$kubeconfig" "$bin/kubectl" "$@"; }

# The host-path provisioner makes a directory that only root may enter, and the kubelet does not apply fsGroup to it.
# Pods are not root here, so every new directory is opened. It is made before the volume exists for the API server, so
# this is done long before a container sees it.
open_volumes='
  chmod 0777 "$0"/* 2>/dev/null
  inotifywait -m -q -e create --format %w%f "$0" | while read -r volume; do chmod 0777 "$volume"; done'

control_plane() {
  spawn etcd "$control" "$bin/etcd" --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
  spawn apiserver "$control" "$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --advertise-address=$control_ip \
    --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" --service-account-issuer=https://kubernetes.default.svc \
    --service-cluster-ip-range=198.19.0.0/16 --authorization-mode=Node,RBAC --allow-privileged=true \
    --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key" --kubelet-preferred-address-types=InternalIP
  until_true 60 "the API server does not answer, see $state/logs/apiserver.log" kube get --raw /readyz
  spawn volumes "$control" sh -c "$open_volumes" "$state/own/volumes"
  spawn growing "$control" env KUBECONFIG="$kubeconfig" PATH="$bin:$PATH" "$here/growing" /tmp/hostpath_pv
  spawn controller-manager "$control" "$bin/kube-controller-manager" --kubeconfig="$kubeconfig" --leader-elect=false \
    --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" --use-service-account-credentials \
    --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
    --enable-hostpath-provisioner --node-monitor-grace-period=20s
  spawn scheduler "$control" "$bin/kube-scheduler" --kubeconfig="$kubeconfig" --leader-elect=false
  # kube-proxy waits for its node, and the client machine is none, so it speaks as the first.
  spawn proxy-client "$client" "$bin/kube-proxy" --config="$(proxy_config client node-1)"
}

# proxy_config HOST [NODE]: write kube-proxy's configuration, print its path. A proxy ends when its file is written again, so
# a file that is right is left alone.
proxy_config() {
  local file=$state/proxy-$1.yaml
  cat >"$file.new" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
nftables: {minSyncPeriod: 100ms, syncPeriod: 5s}
clusterCIDR: 198.18.0.0/16
hostnameOverride: ${2:-$1}
clientConnection: {kubeconfig: $kubeconfig}
conntrack: {maxPerCore: 0}
oomScoreAdj: 0
YAML
  cmp -s "$file.new" "$file" || mv "$file.new" "$file"
  rm -f "$file.new"
  echo "$file"
}

addons() { kube apply --server-side --force-conflicts -f "$here/addons.yaml" >/dev/null; }

ready() { # ready NODES: every node and the cluster's DNS
  local n
  for n in $(seq "$1"); do until_true 60 "node-$n does not register, see $state/logs/kubelet-$n.log" kube get node "node-$n"; done
  kube wait --for=condition=Ready node --all --timeout=120s >/dev/null
  kube -n kube-system rollout status deployment/coredns --timeout=120s >/dev/null
  until_true 60 "the client machine has no DNS, see $state/logs/proxy-client.log" client_resolves
}
client_resolves() { (client_machine timeout 3 getent hosts kubernetes.default.svc); }
