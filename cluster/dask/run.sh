#!/usr/bin/env bash
# Run the configuration on the scheduler at $1. Usage: L3AE_TLS=FOLDER ./run.sh tls://SCHEDULER:8786 CONFIG.yaml
set -euo pipefail
address=${1:?usage: run.sh tls://SCHEDULER:8786 CONFIG.yaml}
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec l3ae-dist run "${2:-config.yaml}" --set compute.cluster=address --set compute.workers=4 --set compute.memory_budget=17179869184 --set compute.threads=16 --set compute.address="$address"
