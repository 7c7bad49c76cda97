# shellcheck shell=bash
# Sourced by the batch scripts: the environment, a token for this job's Ray alone, and the head's address.
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
# shellcheck disable=SC1091
source "${L3AE_VENV:-.venv}/bin/activate"
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
secrets=$HOME/.l3ae-dist/$SLURM_JOB_ID
(umask 077 && mkdir -p "$secrets" && openssl rand -hex 32 >"$secrets/token")
# Ray's folder has a name that nobody can guess, and is made on every node by this user: one that somebody else has
# made there ends the job.
scratch=$(mktemp -d /tmp/l3ae-XXXXXXXXXX)
on_every_node=(srun --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1)
remove_folders() {
  rm -rf "$secrets" "$scratch"
  "${on_every_node[@]}" rm -rf "$scratch" || true
}
trap remove_folders EXIT
# shellcheck disable=SC2016
"${on_every_node[@]}" bash -c '[[ -O $0 ]] || mkdir -m 700 "$0"' "$scratch"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$secrets/token
# The other nodes may start later than the head.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
# This script runs on the first node of the job: Ray's head, the driver and both dashboards are here.
# The name may stand for the loopback: then the first address that does not.
ip=$({ hostname --ip-address && hostname -I; } | tr ' ' '\n' | awk '/\./ && !/^127\./ && !found++')
ip=${ip:-127.0.0.1}
port=6379
address=$ip:$port
echo "dashboards: ssh -L 8265:127.0.0.1:8265 -L 8787:127.0.0.1:8787 $(hostname)"
