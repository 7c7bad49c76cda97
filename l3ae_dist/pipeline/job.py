"""One execution of the stages in order: ingest, embed, gram, factor, invert, assemble, evaluate.

Each stage skips what is done; :mod:`l3ae_dist.pipeline.run` decides whether there is anything to execute.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import ClassVar

from l3ae_dist.config.compute import ComputeConfig
from l3ae_dist.config.embedding import TransformConfig
from l3ae_dist.config.evaluated_models import evaluated_models
from l3ae_dist.config.members import MEMBERS, ModelSpec, Route
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.config.transformed_spec import transform_of
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.linear_systems import System, systems_of
from l3ae_dist.data.multi_hot_words import make_words
from l3ae_dist.embed.transform import transform_all
from l3ae_dist.errors import StageMissingError
from l3ae_dist.evaluation.evaluate import compare_models, measure_models
from l3ae_dist.evaluation.top_lists import evaluated_users
from l3ae_dist.pipeline.core import ordered_features, with_core
from l3ae_dist.pipeline.corrections import has_correction, why_solved
from l3ae_dist.pipeline.early_refusal import refuse_what_cannot_be_solved
from l3ae_dist.pipeline.expected_work import plan_made, stage_repeats
from l3ae_dist.pipeline.identity import refuse_few_dimensions
from l3ae_dist.pipeline.ingest_place import ingest_execution
from l3ae_dist.pipeline.inputs import Inputs, Source
from l3ae_dist.pipeline.model_document import MadeBy, ModelDocument
from l3ae_dist.pipeline.model_search import Specs, TopListMeasure, search_models
from l3ae_dist.pipeline.named_models import Current, keep_model, paths_of_models
from l3ae_dist.pipeline.result import Outcome, Planned, RunResult
from l3ae_dist.planning.decide_arithmetic import decided_plan, possible_arithmetics
from l3ae_dist.planning.intermediates import decided_intermediates
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_of_config import RunPlan, check_limit, fill_in, plan_run
from l3ae_dist.planning.storage_need import check_disk, need_message, need_summary, storage_need
from l3ae_dist.runtime.backends.session import Session, forget_copies_of, open_cluster, workers_text
from l3ae_dist.runtime.event_log import EventLog
from l3ae_dist.runtime.events import Message, StageEnd, StageStart
from l3ae_dist.runtime.executors import Executor
from l3ae_dist.runtime.memory import ProcessGroups
from l3ae_dist.runtime.versions import check_processes
from l3ae_dist.runtime.watch.observers import dask_report, tiles_on_dashboard
from l3ae_dist.solve.artifact_store import ArtifactStore, SolveSettings
from l3ae_dist.solve.certificate import Certificate
from l3ae_dist.solve.family import Family
from l3ae_dist.solve.variants import VariantFamily
from l3ae_dist.storage import layout
from l3ae_dist.storage.kept import Kept
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


class Job:
    """One execution under the lock; ``models`` says which models of a configuration it tries."""

    models = staticmethod(evaluated_models)
    made_by: ClassVar[MadeBy] = "run"
    measures: ClassVar[bool] = False
    """True for a job that measures a model, and makes none the current one."""
    takes_updates: ClassVar[bool] = False
    """True for a job whose inverses may be others and their change."""

    def __init__(
        self,
        config: RunConfig,
        workspace: Workspace,
        events: EventLog,
        processes: ProcessGroups,
        epoch: int,
        run_id: str,
    ) -> None:
        self.config = config
        self.workspace = workspace
        self.events = events
        self.processes = processes
        self.epoch = epoch
        self.run_id = run_id
        self.kept = Kept()
        self.stage_seconds: dict[str, float] = {}
        self.variants: dict[str, str] = {}  # embeddings by the transformation of the models that read them
        self._parent: str | None = None
        self._current: Current | None = None

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add to a stage's wall time."""
        started = time.perf_counter() - self.stage_seconds.get(str(stage), 0.0)
        yield
        self.stage_seconds[str(stage)] = round(time.perf_counter() - started, 3)

    @contextlib.contextmanager
    def ray(self) -> Iterator[None]:
        """Ray for the ``with`` block, with its processes measured; within another such block, the same."""
        from l3ae_dist.runtime.backends.ray_session import ray_session

        if self.processes.ray is list:
            self.events(Message(message="starting Ray, or joining the one that runs"))
        with ray_session(dashboard=self.config.compute.ray_dashboard) as session:
            outer, self.processes.ray = self.processes.ray, session.pids
            if session.dashboard_url and outer is list:
                self.events(Message(message=f"Ray dashboard: {session.dashboard_url}"))
            try:
                yield
            finally:
                self.processes.ray = outer

    def execute(self, source: Source, inputs: Inputs, until: str | None) -> RunResult:
        """Run all stages, and return the result without the run's own bookkeeping.

        Parameters
        ----------
        source
            Ids of the dataset and of the item features, as they are or will be in the workspace.
        inputs
            What they are made from; None for what is there.
        until
            Stop after ``"ingest"``, ``"embed"`` or ``"fit"``.
        """
        self._parent = source.model
        dataset = self._ingest(source, inputs)
        result = RunResult({"id": dataset.id, **dataset.stats.record()}, self.stage_seconds)
        if until == "ingest":
            return result
        specs = self.models(self.config)
        if until != "embed":
            planned = self._planned_models(specs)
            refuse_what_cannot_be_solved(self.config, dataset, source, planned, inputs.embeddings)
        embedding = self._features(dataset, source, inputs.embeddings)
        result.embedding = (embedding,)
        if until == "embed":
            return result
        plan, route = self._plan(dataset, embedding, specs)
        storage = self._storage(plan, route, dataset, embedding, specs)
        with self._cluster(plan) as (executor, plan):
            store = ArtifactStore(self.workspace, self._settings(plan, executor))
            family = VariantFamily(store, dataset, embedding, route, self.variants)
            solve = self._fit_only if until == "fit" else self._fit_and_evaluate
            result.outcome = solve(store.for_items(dataset.n_items), family, specs)
            result.planned = Planned(store.plan.summary(), route, storage)
            result.stages = store.stats
            result.told = {} if self._current is None else self._current.told()
        return result

    def _ingest(self, source: Source, inputs: Inputs) -> Dataset:
        from l3ae_dist.data.ingest import ingest

        made = self.workspace.stage_done(Stage.INGEST, source.dataset) is not None
        self.events(StageStart(stage=Stage.INGEST, total=1, done=int(made)))
        if not made and inputs.interactions is not None:
            options = self.config.data.options
            place = ingest_execution(
                self.config, self.workspace, self.events, source.dataset, inputs, self._workers
            )
            with place as execution, self.timed(Stage.INGEST):
                ingest(inputs.interactions, inputs.items, options, self.workspace, execution=execution)
        with self.timed(Stage.INGEST):
            dataset = with_core(Dataset(self.workspace, source.dataset), self.config.data.core, self.events)
        self.events(StageEnd(stage=Stage.INGEST, data=dataset.stats.record()))
        return dataset

    def _features(self, dataset: Dataset, source: Source, embeddings: object) -> str | None:
        """Make the item features, and return their id after the transformation."""
        refuse_few_dimensions(self.config, source, dataset, embeddings, [self.config.transform])
        embedding = self._embedded(dataset, source, embeddings)
        if embedding is None or self.config.model.uses != "embeddings":
            return embedding
        return self._transformed(dataset, source, embedding, {"": self.config.transform})[""]

    def _embedded(self, dataset: Dataset, source: Source, embeddings: object) -> str | None:
        """Make the item features as they are before a transformation, and return their id."""
        given = dataset if dataset.id == source.dataset else Dataset(self.workspace, source.dataset)
        if source.embedding is not None:
            with self.timed(Stage.EMBED):
                self._embed(given, source.embedding, embeddings)
        self._write_last(given, source.embedding)
        return ordered_features(source.embedding, given, dataset, self.config.words)

    def _transformed(
        self, dataset: Dataset, source: Source, embedding: str, transforms: Mapping[str, TransformConfig]
    ) -> dict[str, str]:
        """Transform embeddings, and return the ids by the names of the transformations."""
        with self.timed(Stage.TRANSFORM):
            return transform_all(embedding, transforms, dataset, source.transform, on_event=self.events)

    def _settings(self, plan: Plan, executor: Executor) -> SolveSettings:
        compute, specs = self.config.compute, self.models(self.config)
        return SolveSettings(
            plan,
            executor,
            keep=tuple(compute.keep),
            epoch=self.epoch, durable=compute.durable,
            device=compute.device, device_memory=compute.device_memory or 0,
            on_event=self.events, kept=self.kept,
            protected=paths_of_models(self.workspace),
            local_directory=compute.local_directory or "", local_bytes=compute.local_size,
            updates=self.takes_updates and why_solved(self.config, specs) is None,
        )  # fmt: skip

    def _write_last(self, dataset: Dataset, embedding: str | None) -> None:
        """Note what a later run without sources goes on with; a model without embeddings leaves them."""
        if self.config.model.uses != "embeddings":
            before = self.workspace.read_doc(layout.LAST_RUN) or {}
            embedding = before.get("embedding") if before.get("dataset") == dataset.id else None
        self.workspace.write_doc(layout.LAST_RUN, {"dataset": dataset.id, "embedding": embedding})

    def _embed(self, dataset: Dataset, embedding: str, embeddings: object) -> None:
        from l3ae_dist.embed.actor_pool import ActorRequest
        from l3ae_dist.embed.imports import import_embeddings
        from l3ae_dist.embed.run import embed_items, embedding_id

        if self.config.model.uses == "words":
            make_words(dataset, self.config.words, self.workspace)
            return
        record = self.workspace.stage_held(Stage.EMBED, embedding)
        if record is not None:
            if not record.params.get("imported"):
                message = f"all {dataset.n_items:,} texts are embedded already"
                self.events(Message(stage=Stage.EMBED, message=message))
            return
        if embeddings is not None:
            import_embeddings(embeddings, dataset, embedding)
            return
        if embedding != embedding_id(dataset.catalog, self.config.encoder):
            raise StageMissingError(
                f"the embeddings {embedding} are damaged or incomplete, and this run has no source for them; "
                "give the embeddings (data.embeddings) or the encoder they were made with."
            )
        embed_items(
            dataset,
            self.config.encoder,
            embedding,
            actors=ActorRequest(self.config.compute.actors, self.config.compute.gpus_per_actor, self.ray),
            epoch=self.epoch,
            on_event=self.events,
        )

    def _plan(self, dataset: Dataset, embedding: str | None, specs: Specs) -> tuple[Plan, Route]:
        with self.timed("condition estimate"):
            self.config = self.config.model_copy(update={"compute": fill_in(self.config.compute)})
            found = self._found_plan(dataset, embedding, specs)
        plan = decided_intermediates(found.plan, self.config.compute, self.workspace.url)
        plan.validate()
        these = (plan, found.route, dataset, embedding, specs)
        repeats = {} if self.takes_updates else self._repeats(*these)  # an update may spare most stages
        self.events(plan_made(self.config, plan, found.size, repeats))
        told = f"{plan.headline}, condition estimate {found.kappa:.1e}, projected peak "
        self.events(Message(message=f"{told}{plan.peak_bytes / 2**20:,.0f} MiB per worker{plan.at_stake}"))
        return plan, found.route

    def _planned_models(self, specs: Specs) -> Specs:
        """Return the models that the plan is made for: all."""
        return specs

    def _repeats(
        self, plan: Plan, route: Route, dataset: Dataset, embedding: str | None, specs: Specs
    ) -> dict[str, int]:
        """Return how often each stage is still to be run."""
        systems = self._systems(route, embedding, specs)
        return stage_repeats(self.workspace, dataset, plan, systems, self.models(self.config))

    def _systems(self, route: Route, embedding: str | None, specs: Specs) -> set[tuple[float, System]]:
        """Return ridge and matrix of every system of some models."""
        return {
            system
            for spec in specs
            for system in systems_of(spec, self.variants.get(transform_of(spec), embedding), route)
        }

    def _found_plan(self, dataset: Dataset, embedding: str | None, specs: Specs) -> RunPlan:
        """Plan the run for these models, before what the workspace's rates decide."""
        return plan_run(self.config, self.workspace, dataset, embedding, specs)

    def _storage(
        self, plan: Plan, route: Route, dataset: Dataset, embedding: str | None, specs: Specs
    ) -> dict[str, object]:
        """Tell what the tiles take of the workspace's storage; refuse when its disk has no room."""
        updates = self.takes_updates and why_solved(self.config, specs) is None
        need = storage_need(
            plan,
            self.workspace,
            dataset,
            {
                system
                for system in self._systems(route, embedding, specs)
                if not (updates and has_correction(self.workspace, dataset, plan, *system))
            },
            keep=tuple(self.config.compute.keep),
            product=any(stage.name == Stage.PRODUCT for stage in plan.stages),
            specs=specs,
            arithmetics=possible_arithmetics(plan, self.config.compute),
        )
        check_disk(need, self.workspace)
        self.events(Message(message=need_message(need, self.workspace, self.config.prices)))
        return need_summary(need, self.config.prices)

    @contextlib.contextmanager
    def _cluster(self, plan: Plan) -> Iterator[tuple[Executor, Plan]]:
        """Open the workers; yields what runs tasks there, and the plan with their arithmetic."""
        compute = self.config.compute
        with self._workers(compute) as session:
            check_limit(session.memory_limit(), plan)
            plan = decided_plan(plan, compute, self.workspace, session, self.events)
            told = (session, self.workspace, self.events)
            with dask_report(*told) if compute.performance_report else contextlib.nullcontext():
                yield session.executor(peer_reads=compute.reads_from_peers), plan
            if compute.local_directory:
                forget_copies_of(session)

    @contextlib.contextmanager
    def _workers(self, compute: ComputeConfig) -> Iterator[Session]:
        """Open the back end, with its processes measured and its workers watched."""
        if compute.cluster != "synchronous":
            self.events(Message(message=f"starting {workers_text(compute)}"))
        with contextlib.ExitStack() as opened:
            with self.timed("cluster start"):
                session = opened.enter_context(open_cluster(compute, self.events))
            self.processes.workers, self.processes.elsewhere = session.pids, session.bytes_elsewhere
            self.processes.scheduler = lambda: session.scheduler_pids
            if session.dashboard_url:
                self.events(Message(message=f"Dask dashboard: {session.dashboard_url}"))
            if compute.cluster in ("address", "ray"):  # all of these versions; BLAS that differs is told of
                for message in check_processes(session.environments()):
                    self.events(Message(message=message))
            try:
                with (
                    session.watched(self.events.later, self.events.idle, self.kept),
                    tiles_on_dashboard(session, self.events),
                ):
                    yield session
            finally:
                self.events.flush()
                self.processes.workers = self.processes.scheduler = self.processes.elsewhere = list

    def _fit_only(self, store: ArtifactStore, family: Family, specs: Specs) -> Outcome:
        with self.timed("fit"):
            made = self._save_model(store, family, specs[0], "fit")
            return Outcome(made, {specs[0].name: {"params": specs[0].params()}})

    def _fit_and_evaluate(self, store: ArtifactStore, family: Family, specs: Specs) -> Outcome:
        options, saved = self.config.evaluate, MEMBERS[self.config.model.name].title
        users = evaluated_users(family.dataset, options.max_users, options.seed)
        measure = TopListMeasure(store, family, users, options, saved)
        search = search_models(measure, family, specs, options.metric, timed=self.timed)
        chosen = sorted(search.picked, key=lambda spec: spec.name != saved)
        certificate = self._save_model(store, family, chosen[0])
        table = [trial.row(with_ridge=True) for trial in search.trials]
        with self.timed("metrics"):
            lists = measure.lists(chosen)
            return Outcome(
                certificate,
                measure_models(lists, chosen, options),
                len(users),
                compare_models(lists, chosen, options),
                grid=table if len(table) > len(chosen) else None,
            )

    def _save_model(
        self, store: ArtifactStore, family: Family, spec: ModelSpec, made_by: MadeBy | None = None
    ) -> Certificate:
        """Write down which arrays make up a model, for ``load_model``; return its certificate.

        Parameters
        ----------
        store, family, spec
            The model, and where it is made.
        made_by
            What makes it; that of the job when None.
        """
        family = family.of(spec)
        terms, certificate = family.certified(spec)
        document = ModelDocument(
            name=spec.name,
            params=spec.params(),
            dataset=family.dataset.id,
            embedding=family.embedding if spec.with_features else None,
            tile=store.grid.tile,
            dtype=store.dtype,
            arrays=family.arrays(spec, terms),
            terms=terms,
            reg_e=spec.reg_e,
            route=family.route,
            certificate=certificate,
            run=self.run_id,
            by=self.made_by if self.made_by in ("append", "update", "forget") else made_by or self.made_by,
            parent=self._parent,
            arithmetic=store.arithmetic,
        )
        self._current = self._keep(document)
        return certificate

    def _keep(self, model: ModelDocument) -> Current:
        """Make a fitted model the current one, and tell of the one that it replaces."""
        current = keep_model(self.workspace, model, self.config.name)
        if current.replaced is not None:
            self.events(Message(message=current.replaced.message))
        return current
