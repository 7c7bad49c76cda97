#!/usr/bin/env bash
# Submit the job to the RayCluster, through a port-forward to the head that ends with this script.
set -euo pipefail
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(kubectl get secret l3ae-dist -o jsonpath='{.data.auth_token}' | base64 -d)
export RAY_AUTH_TOKEN
head=$(kubectl get pod -l ray.io/cluster=l3ae-dist,ray.io/node-type=head -o name)
kubectl port-forward "$head" 8265:8265 >/dev/null &
forward=$!
trap 'kill "$forward"' EXIT
sleep 3
ray job submit --address http://127.0.0.1:8265 -- \
  l3ae-dist run /etc/l3ae-dist/config/config.yaml --set compute.cluster=ray --set compute.workers=4 --set compute.memory_budget=17179869184 --set compute.threads=16 --set compute.dashboard_address=127.0.0.1:8787 --set compute.start_timeout=1800
