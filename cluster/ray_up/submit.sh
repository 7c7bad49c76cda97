#!/usr/bin/env bash
# Submit the job; `ray dashboard aws.yaml` (or gcp.yaml) must be running beside it.
set -euo pipefail
export RAY_AUTH_MODE=token
ray job submit --address http://127.0.0.1:8265 -- \
  l3ae-dist run /home/ray/config.yaml --set compute.cluster=ray --set compute.workers=4 --set compute.memory_budget=17179869184 --set compute.threads=16 --set compute.dashboard_address=127.0.0.1:8787 --set compute.start_timeout=1800
