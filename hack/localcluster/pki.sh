# shellcheck shell=bash
# pki.sh: the cluster's certificate authority, certificates and kubeconfigs. What exists is kept. Sourced by localcluster.

certificates() { # certificates NODES
  local n
  mkdir -p "$pki"
  [ -f "$pki/ca.crt" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$pki/ca.key" -out "$pki/ca.crt" \
    -days 3650 -subj /CN=localcluster-ca 2>/dev/null
  [ -f "$pki/sa.pub" ] || { openssl ecparam -name prime256v1 -genkey -noout -out "$pki/sa.key"; openssl ec -in "$pki/sa.key" -pubout -out "$pki/sa.pub" 2>/dev/null; }
  certificate apiserver /CN=kube-apiserver "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:$control_ip,IP:198.19.0.1"
  certificate admin /O=system:masters/CN=admin DNS:admin
  for n in $(seq "$1"); do certificate "node-$n" "/O=system:nodes/CN=system:node:node-$n" "DNS:node-$n,IP:$(node_ip "$n")"; done
  kubeconfig_for admin "$kubeconfig"
}
certificate() { # certificate NAME SUBJECT SANS
  [ -f "$pki/$1.crt" ] && return
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$pki/$1.key" -out "$pki/$1.csr" -subj "$2" 2>/dev/null
  openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 3650 -out "$pki/$1.new" \
    -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3") 2>/dev/null
  mv "$pki/$1.new" "$pki/$1.crt"
}
kubeconfig_for() { # kubeconfig_for CERTIFICATE FILE
  [ -f "$2" ] && return
  cat >"$2.new" <<YAML
apiVersion: v1
kind: Config
clusters:
- name: $cluster
  cluster: {server: "https://$control_ip:6443", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}
users:
- name: $cluster
  user: {client-certificate-data: $(base64 -w0 "$pki/$1.crt"), client-key-data: $(base64 -w0 "$pki/$1.key")}
contexts:
- name: $cluster
  context: {cluster: $cluster, user: $cluster}
current-context: $cluster
YAML
  mv "$2.new" "$2"
}
