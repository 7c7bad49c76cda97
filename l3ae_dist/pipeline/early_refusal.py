"""Refusal of a solve that no plan fits, before item texts are embedded for it."""

from dataclasses import replace

from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.config.transformed_spec import transforms_of
from l3ae_dist.data.core import core_part
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.linear_systems import systems_of
from l3ae_dist.pipeline.inputs import Source
from l3ae_dist.pipeline.model_search import Specs
from l3ae_dist.planning.data_size import dataset_size, embedding_dim
from l3ae_dist.planning.plan_of_config import (
    configured_machine,
    fill_in,
    fitting_plan,
    may_use_gpu,
    model_needs,
    semantic_route,
)
from l3ae_dist.planning.storage_need import check_disk, storage_need
from l3ae_dist.storage.stages import Stage


def _columns(config: RunConfig, specs: Specs, items: int) -> int:
    """Return the columns of the widest features; 1 where the encoder tells them when it is loaded."""
    given = embedding_dim(config, None)
    if given is None:
        return 1
    transforms = list(transforms_of(specs).values()) or [config.transform]
    return max(one.columns(given, items) for one in transforms)


def refuse_what_cannot_be_solved(
    config: RunConfig, dataset: Dataset, source: Source, specs: Specs, embeddings: object
) -> None:
    """Refuse a run whose solve fits neither memory nor disk, while its texts are still to be embedded.

    What is not known yet counts in favour of the run: the precision, and the columns of an encoder without a
    preset. The plan that is made after the embedding checks again.

    Parameters
    ----------
    config, dataset, source, specs
        The run, what it fits, the ids of its data, and the models that its plan is made for.
    embeddings
        What is given instead of texts; None for an encoder.

    Raises
    ------
    BudgetError
        With the numbers, when a worker's memory is too small.
    WorkspaceError
        Likewise for the disk.
    """
    workspace, made = dataset.workspace, source.embedding
    texts = config.model.uses == "embeddings" and made is not None and embeddings is None
    if not texts or workspace.stage_held(Stage.EMBED, str(made)) is not None:
        return
    compute, fitted = fill_in(config.compute), core_part(dataset)
    config = config.model_copy(update={"compute": compute})
    columns = _columns(config, specs, fitted.n_items)
    size, route = dataset_size(fitted, columns), semantic_route(config, (fitted.n_items, columns))
    dtype = "float32" if compute.dtype == "auto" else compute.dtype
    machine = replace(configured_machine(compute, dtype, gpu=may_use_gpu(compute)), counted=False)
    plan = fitting_plan(size, model_needs(config, specs, size, route, sparse=False), machine)
    plan.validate()
    if any(record.stage == Stage.GRAM for record in workspace.stage_records()):
        return  # what is there already may be of another precision, and count
    systems = {one for spec in specs for one in systems_of(spec, made, route)}
    need = storage_need(
        plan, workspace, dataset, systems, keep=tuple(compute.keep), product=False, specs=specs
    )
    check_disk(need, workspace)
