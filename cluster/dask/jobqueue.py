"""The plan's Dask workers as Slurm jobs, through dask-jobqueue 0.9.0, and the run on them.

Queue, account and wall time are read from Dask's configuration (``jobqueue.slurm``). Other systems: exchange
``SLURMCluster`` for ``PBSCluster``, ``LSFCluster`` or ``SGECluster``.
Usage: export L3AE_TLS=FOLDER; source env.sh; python jobqueue.py CONFIG.yaml
"""

import os
import subprocess
import sys
from pathlib import Path
from shlex import quote

from dask_jobqueue import SLURMCluster
from distributed import Security

HERE = Path(__file__).resolve().parent
JOBS = 4
WORKERS_PER_JOB = 1


def main(config: str) -> int:
    """Start the workers, run, and give everything back."""
    tls = os.environ["L3AE_TLS"]
    with SLURMCluster(
        job_name="l3ae",
        processes=WORKERS_PER_JOB,
        cores=2 * WORKERS_PER_JOB,  # tasks at a time, not BLAS threads
        memory="17179869184 B",
        job_cpu=16,
        job_mem="18G",
        protocol="tls://",
        security=Security(),
        scheduler_options={"dashboard_address": "127.0.0.1:8787"},
        job_script_prologue=[f"export L3AE_TLS={quote(tls)}", f"source {quote(str(HERE / 'env.sh'))}"],
    ) as cluster:
        cluster.scale(jobs=JOBS)
        cluster.wait_for_workers(JOBS * WORKERS_PER_JOB)
        command = [HERE / "run.sh", cluster.scheduler_address, config]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "config.yaml"))
