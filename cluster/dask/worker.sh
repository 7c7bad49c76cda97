#!/usr/bin/env bash
# The workers of one node. Usage: L3AE_TLS=FOLDER ./worker.sh tls://SCHEDULER:8786 [dask worker's options]
set -euo pipefail
address=${1:?usage: worker.sh tls://SCHEDULER:8786}
shift
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec dask worker "$address" --nworkers 1 --nthreads 2 \
  --memory-limit 17179869184 --no-dashboard "$@"
