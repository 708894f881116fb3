# shellcheck shell=bash
# cluster.sh: where the scripts deploy to: the local cluster, or with CLUSTER=current the current kubeconfig's (images go
# to REGISTRY then). Sourced, after steps.sh, by scripts that stand in the project's root.

cache=${TURNSTONE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/turnstone}
localcluster=hack/localcluster/localcluster
namespace=default   # of the samples, which bind the queue to the topic
queue=orders
topic=orders/new

case ${CLUSTER:-local} in
  local)
    REGISTRY=
    in_cluster() { "$localcluster" exec "$@"; } ;;
  current)
    PATH=$PATH:$cache/bin   # for a kubectl, where there is none
    in_cluster() { "$@"; } ;;
  *) echo "CLUSTER is local or current, not '$CLUSTER'" >&2; exit 2 ;;
esac
on_local() { [ "${CLUSTER:-local}" = local ]; }
kube() { in_cluster kubectl "$@"; }
helm() { in_cluster hack/tool helm "$@"; }

# deploy OPERATOR-IMAGE BROKER-IMAGE: install the chart, or bring it to these images; back when the operator is ready.
deploy() {
  kube apply --server-side --force-conflicts -f charts/turnstone-operator/crds >/dev/null   # helm leaves CRDs that exist as they are
  helm upgrade --install turnstone-operator charts/turnstone-operator --namespace turnstone-system --create-namespace \
    --set "image.repository=${1%:*},image.tag=${1##*:}" --set "brokerImage.repository=${2%:*},brokerImage.tag=${2##*:}" \
    --wait --timeout 3m >/dev/null
}

# load IMAGE...: give the images of .build/images to every node of the local cluster.
load() {
  local image
  for image; do
    image=${image##*/}
    "$localcluster" load ".build/images/${image%:*}_${image##*:}.tar"
  done
}

# conditions: KIND NAME READY REASON MESSAGE of every Turnstone object in the namespace.
conditions() {
  local ready='.status.conditions[?(@.type=="Ready")]'
  kube -n $namespace get turnstone --no-headers \
    -o "custom-columns=K:.kind,N:.metadata.name,R:$ready.status,W:$ready.reason,M:$ready.message" 2>/dev/null
}
# wait_ready SECONDS: until every object is Ready; says what it waits for whenever that changes.
wait_ready() {
  local end=$((SECONDS + $1)) now before=
  while now=$(conditions) && [ -n "$now" ] || now="the API server does not list them"; do
    now=$(awk '$3 != "True"' <<<"$now")
    [ -z "$now" ] && return
    now=$(grep '^MessageBroker' <<<"$now" || echo "$now")   # the others wait for it
    [ "$now" = "$before" ] || sed 's/  */ /g; s/^/          waiting: /' <<<"$now" >&2
    before=$now
    [ $SECONDS -lt "$end" ] || { echo "not Ready after $1 s" >&2; return 1; }
    sleep 0.5
  done
}
