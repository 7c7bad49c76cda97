#!/usr/bin/env bash
# The scheduler; its dashboard listens on the loopback. Usage: L3AE_TLS=FOLDER ./scheduler.sh [dask scheduler's options]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec dask scheduler --protocol tls --port 8786 --dashboard-address 127.0.0.1:8787 "$@"
