"""Decisions that a configuration leaves to the devices: the dtype of the arithmetic, and shares of memory.

The dtype is part of the addresses of what is made, so a workspace remembers it for devices of one name: a
measurement close to the threshold must not make everything again.
"""

from dataclasses import replace

from l3ae_dist.config.compute import ComputeConfig
from l3ae_dist.linalg.arithmetic import MEASURED_ORDER, choose_arithmetic
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_of_config import may_use_gpu
from l3ae_dist.planning.rates import Rates
from l3ae_dist.runtime.backends.session import Session
from l3ae_dist.runtime.events import Message, OnEvent
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.workspace import Workspace


def possible_arithmetics(plan: Plan, compute: ComputeConfig) -> tuple[str, ...]:
    """Return the arithmetics that the workers of a run may be found to prefer."""
    if compute.arithmetic != "auto" or plan.dtype == "float64" or not may_use_gpu(compute):
        return (plan.arithmetic,)
    return (plan.dtype, "float64")


def decided_plan(
    plan: Plan, compute: ComputeConfig, workspace: Workspace, session: Session, on_event: OnEvent
) -> Plan:
    """Return the plan with the arithmetic of these workers, and how many of them share a device.

    They are asked where the configuration leaves it to them.

    Parameters
    ----------
    plan, compute
        The plan, whose arithmetic is that of the tiles where ``compute`` says ``auto``.
    workspace
        Remembers the decision for devices of these names.
    session
        The open cluster.
    on_event
        Told of float64.
    """
    plan = replace(plan, device_sharers=_sharers(compute, session))
    if len(possible_arithmetics(plan, compute)) == 1:
        return plan
    measured = session.float64_shares(compute.device)
    key = layout.spectrum(fingerprint(["arithmetic", sorted({name for name, _ in measured})]))
    found = workspace.read_doc(key)
    if found is None:
        found = {"arithmetic": choose_arithmetic(plan.dtype, (share for _, share in measured))}
        workspace.write_doc(key, found)
    decided = replace(plan, arithmetic=str(found["arithmetic"]))
    if decided != plan:
        on_event(Message(message=f"the devices are quick in float64: tiles are {decided.precision}"))
    return decided


def planned_arithmetic(plan: Plan, compute: ComputeConfig, rates: Rates) -> Plan:
    """Return the plan with the arithmetic that devices of these rates would choose, where it is left to them.

    Parameters
    ----------
    plan, compute
        As for :func:`decided_plan`; a device ``auto`` counts as a CPU.
    rates
        Of a worker.
    """
    measured = {"float32", "float64"} <= set(rates.gflops) and rates.device == "cuda"
    if not (compute.on_gpu and measured) or len(possible_arithmetics(plan, compute)) == 1:
        return plan
    single, double = (rates.rate("gemm_nt", dtype, MEASURED_ORDER) for dtype in ("float32", "float64"))
    return replace(plan, arithmetic=choose_arithmetic(plan.dtype, [double / single]))


def _sharers(compute: ComputeConfig, session: Session) -> int:
    """Count the workers that divide the memory of one device: where nobody says what each may use."""
    if compute.one_worker or compute.device_memory is not None or not may_use_gpu(compute):
        return 1
    return session.device_sharers(compute.device)
