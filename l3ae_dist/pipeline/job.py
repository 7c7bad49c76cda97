"""One execution of the stages in order: ingest, embed, gram, factor, invert, assemble, evaluate.

Each stage skips what is done; :mod:`l3ae_dist.pipeline.run` decides whether there is anything to execute.
"""

import contextlib
import time
from collections.abc import Iterator

from l3ae_dist.config.evaluated_models import evaluated_models
from l3ae_dist.config.members import MEMBERS, ModelSpec, Route
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.linear_systems import systems_of
from l3ae_dist.data.multi_hot_words import make_words
from l3ae_dist.embed.transform import transform_embeddings
from l3ae_dist.errors import StageMissingError
from l3ae_dist.evaluation.evaluate import compare_models, measure_models
from l3ae_dist.evaluation.top_lists import evaluated_users
from l3ae_dist.pipeline.inputs import Inputs, Source
from l3ae_dist.pipeline.model_document import ModelDocument, write_model
from l3ae_dist.pipeline.model_search import Specs, TopListMeasure, search_models
from l3ae_dist.pipeline.result import Outcome, Planned, RunResult
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_of_config import check_limit, fill_in, plan_run
from l3ae_dist.planning.storage_need import check_disk, need_message, need_summary, storage_need
from l3ae_dist.runtime.backends.session import Session, open_cluster
from l3ae_dist.runtime.event_log import EventLog
from l3ae_dist.runtime.events import Message, PlanMade, StageEnd, StageStart
from l3ae_dist.runtime.executors import Executor
from l3ae_dist.runtime.memory import ProcessGroups
from l3ae_dist.runtime.versions import check_processes
from l3ae_dist.runtime.watch.observers import dask_report, tiles_on_dashboard
from l3ae_dist.solve.artifact_store import ArtifactStore, SolveSettings
from l3ae_dist.solve.certificate import Certificate
from l3ae_dist.solve.family import Family
from l3ae_dist.storage import layout
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


class Job:
    """One execution under the lock; ``models`` says which models of a configuration it tries."""

    models = staticmethod(evaluated_models)

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
        self.stage_seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Record a stage's wall time."""
        started = time.perf_counter()
        yield
        self.stage_seconds[str(stage)] = round(time.perf_counter() - started, 3)

    @contextlib.contextmanager
    def ray(self) -> Iterator[None]:
        """Ray for the ``with`` block, with its processes measured; within another such block, the same."""
        from l3ae_dist.runtime.backends.ray_session import ray_session

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
        dataset = self._ingest(source, inputs)
        result = RunResult({"id": dataset.id, **dataset.stats.record()}, self.stage_seconds)
        if until == "ingest":
            return result
        embedding = self._features(dataset, source.embedding, inputs.embeddings)
        result.embedding = (embedding,)
        if until == "embed":
            return result
        specs = self.models(self.config)
        plan, route = self._plan(dataset, embedding, specs)
        storage = self._storage(plan, route, dataset, embedding, specs)
        result.planned = Planned(plan.summary(), route, storage)
        with self._cluster(plan) as executor:
            store = ArtifactStore(self.workspace, self._settings(plan, executor))
            family = Family(store, dataset, embedding, route)
            solve = self._fit_only if until == "fit" else self._fit_and_evaluate
            result.outcome = solve(store, family, specs)
            result.stages = store.stats
        return result

    def _ingest(self, source: Source, inputs: Inputs) -> Dataset:
        from l3ae_dist.data.ingest import ingest

        self.events(StageStart(stage=Stage.INGEST, total=1))
        with self.timed(Stage.INGEST):
            if inputs.interactions is not None:
                ingest(inputs.interactions, inputs.items, self.config.data.options, self.workspace)
            dataset = Dataset(self.workspace, source.dataset)
        self.events(StageEnd(stage=Stage.INGEST, data=dataset.stats.record()))
        return dataset

    def _features(self, dataset: Dataset, embedding: str | None, embeddings: object) -> str | None:
        """Make the item features, and return their id after the transformation."""
        if embedding is not None:
            with self.timed(Stage.EMBED):
                self._embed(dataset, embedding, embeddings)
        self._write_last(dataset, embedding)
        if embedding is not None and self.config.model.uses == "embeddings":
            return transform_embeddings(embedding, self.config.transform, self.workspace)
        return embedding

    def _settings(self, plan: Plan, executor: Executor) -> SolveSettings:
        compute = self.config.compute
        return SolveSettings(
            plan,
            executor,
            keep=tuple(compute.keep),
            epoch=self.epoch,
            durable=compute.durable,
            device=compute.device,
            on_event=self.events,
        )

    def _write_last(self, dataset: Dataset, embedding: str | None) -> None:
        """Note what a later run without sources goes on with; a model without embeddings leaves them."""
        if self.config.model.uses != "embeddings":
            before = self.workspace.read_doc(layout.LAST_RUN) or {}
            embedding = before.get("embedding") if before.get("dataset") == dataset.id else None
        self.workspace.write_doc(layout.LAST_RUN, {"dataset": dataset.id, "embedding": embedding})

    def _embed(self, dataset: Dataset, embedding: str, embeddings: object) -> None:
        from l3ae_dist.embed.imports import import_embeddings
        from l3ae_dist.embed.run import embed_items, embedding_id

        if self.config.model.uses == "words":
            make_words(dataset, self.config.words, self.workspace)
            return
        if self.workspace.stage_done(Stage.EMBED, embedding) is not None:
            return
        if embeddings is not None:
            import_embeddings(embeddings, dataset, embedding)
            return
        if embedding != embedding_id(dataset.catalog, self.config.encoder):
            raise StageMissingError(
                f"the embeddings {embedding} are damaged or incomplete, and this run has no source for them; "
                "give the embeddings (data.embeddings) or the encoder they were made with."
            )
        dataset.require_text()  # before Ray starts
        compute = self.config.compute
        with self.ray():
            embed_items(
                dataset,
                self.config.encoder,
                embedding,
                num_actors=compute.actors,
                num_gpus_per_actor=compute.gpus_per_actor,
                epoch=self.epoch,
                on_event=self.events,
            )

    def _plan(self, dataset: Dataset, embedding: str | None, specs: Specs) -> tuple[Plan, Route]:
        with self.timed("condition estimate"):
            self.config = self.config.model_copy(update={"compute": fill_in(self.config.compute)})
            found = plan_run(self.config, self.workspace, dataset, embedding, specs)
        plan, kappa, route = found.plan, found.kappa, found.route
        plan.validate()
        peaks = {stage.name: stage.peak_bytes for stage in plan.stages}
        self.events(
            PlanMade(memory_budget=plan.memory_budget, projected_peak_bytes=plan.peak_bytes, stages=peaks)
        )
        self.events(
            Message(
                message=f"{plan.grid.n:,} items in {plan.grid.count} x {plan.grid.count} tiles of "
                f"{plan.grid.tile}, {plan.dtype}, condition estimate {kappa:.1e}, projected peak "
                f"{plan.peak_bytes / 2**20:,.0f} MiB per worker"
            )
        )
        return plan, route

    def _storage(
        self, plan: Plan, route: Route, dataset: Dataset, embedding: str | None, specs: Specs
    ) -> dict[str, object]:
        """Tell what the tiles take of the workspace's storage; refuse when its disk has no room."""
        need = storage_need(
            plan,
            self.workspace,
            dataset,
            {system for spec in specs for system in systems_of(spec, embedding, route)},
            keep=tuple(self.config.compute.keep),
            product=any(stage.name == Stage.PRODUCT for stage in plan.stages),
            low_pass=any(spec.rank for spec in specs),
        )
        check_disk(need, self.workspace)
        message = need_message(need, self.workspace, self.config.prices)
        self.events(Message(message=message))
        return need_summary(need, self.config.prices)

    @contextlib.contextmanager
    def _cluster(self, plan: Plan) -> Iterator[Executor]:
        started = time.perf_counter()
        with open_cluster(self.config.compute, self.events) as session:
            self.stage_seconds["cluster start"] = round(time.perf_counter() - started, 3)
            check_limit(session.memory_limit(), plan)
            self.processes.workers, self.processes.elsewhere = session.pids, session.bytes_elsewhere
            self.processes.scheduler = lambda: session.scheduler_pids
            if session.dashboard_url:
                self.events(Message(message=f"Dask dashboard: {session.dashboard_url}"))
            if self.config.compute.cluster in ("address", "ray"):
                self._check_processes(session)
            try:
                with contextlib.ExitStack() as stack:
                    stack.enter_context(session.watched(self.events.later))
                    stack.enter_context(tiles_on_dashboard(session, self.events))
                    if self.config.compute.performance_report:
                        stack.enter_context(dask_report(session, self.workspace, self.events))
                    yield session.executor()
            finally:
                self.events.flush()
                self.processes.workers = self.processes.scheduler = self.processes.elsewhere = list

    def _check_processes(self, session: Session) -> None:
        """Every worker has this process's versions; BLAS builds that differ are told of."""
        for message in check_processes(session.environments()):
            self.events(Message(message=message))

    def _fit_only(self, store: ArtifactStore, family: Family, specs: Specs) -> Outcome:
        spec = specs[0]
        with self.timed("fit"):
            certificate = self._save_model(store, family, spec)
        return Outcome(certificate, {spec.name: {"params": spec.params()}})

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

    def _save_model(self, store: ArtifactStore, family: Family, spec: ModelSpec) -> Certificate:
        """Write down which arrays make up a model, for ``load_model``; return its certificate."""
        terms = family.terms(spec)
        certificate = family.certificate(spec, terms)
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
        )
        write_model(self.workspace, document)
        return certificate
