#!/usr/bin/env bash
# roll.sh [NAMESPACE]   restarts the storage nodes that do not run what their StatefulSets say, one at a time over all
# zones. It asks Kubernetes to evict each: that is refused while any storage node is not ready (the disruption budget
# "storage-node"), and then asked again. Broken off, it goes on where it was when it is started again.
set -euo pipefail
namespace=${1:-atoll}
pause_s=${ROLL_PAUSE_S:-5}
selector=app.kubernetes.io/name=storage-node,app.kubernetes.io/part-of=atoll

k() { kubectl --namespace "$namespace" "$@"; }

# Names of the pods that a StatefulSet made from an earlier template.
outdated() {
  local set=$1 generation revision pods
  generation=$(k get statefulset "$set" -o 'jsonpath={.metadata.generation}')
  k wait "statefulset/$set" "--for=jsonpath={.status.observedGeneration}=$generation" --timeout=60s >&2
  revision=$(k get statefulset "$set" -o 'jsonpath={.status.updateRevision}')
  pods=$(k get pods -l "$selector,controller-revision-hash!=$revision" -o name)
  sed -nE "s#^pod/($set-[0-9]+)\$#\1#p" <<<"$pods"
}

evict() {
  printf '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"%s","namespace":"%s"}}' "$1" "$namespace" |
    k create --raw "/api/v1/namespaces/$namespace/pods/$1/eviction" -f - 2>&1
}

sets=$(k get statefulsets -l "$selector" -o name)
for set in ${sets//statefulset.apps\//}; do
  pods=$(outdated "$set")
  for pod in $pods; do
    echo "$pod: evicted as soon as every storage node is ready"
    until answer=$(evict "$pod"); do
      if [[ $answer != *TooManyRequests* ]]; then
        echo "$pod: $answer" >&2
        exit 1
      fi
      sleep "$pause_s"
    done
  done
done

echo 'waiting until every storage node is ready'
until [[ $(k get poddisruptionbudget storage-node -o 'jsonpath={.status.disruptionsAllowed}') == 1 ]]; do sleep "$pause_s"; done
echo done
