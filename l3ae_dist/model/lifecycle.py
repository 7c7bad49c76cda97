"""Life of a fitted model after the fit: new items and interactions, measurements, copies and exports."""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from l3ae_dist.config.section import SectionValues
from l3ae_dist.data.tables import Id, Items, Table, Vectors
from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.model.added_items import AddedItems, write_added
from l3ae_dist.model.export import MEMORY_BUDGET, ExportOptions, Format, kept_weights, write_export
from l3ae_dist.model.items_to_add import NewItems
from l3ae_dist.model.recommender import Recommender
from l3ae_dist.pipeline.result import ResultDocument
from l3ae_dist.runtime.events import OnEvent, ignore
from l3ae_dist.storage.export_header import ExportHeader

if TYPE_CHECKING:
    import distributed
    from scipy.sparse import csr_matrix

    from l3ae_dist.pipeline.append import Growth


class ModelLifecycle(Recommender):
    """A recommender that grows with new data, and is measured, copied and exported."""

    @abstractmethod
    def _refitted(self, result: ResultDocument) -> Self:
        """Return this with the model that the workspace holds after another fit."""

    def _compute(self) -> SectionValues | None:
        """Return the section ``compute`` of calls that start a run and name none."""
        return None

    def _trusts_code(self) -> bool:
        """Tell whether the user said beforehand that code of the encoder may run."""
        return False

    def add_items(
        self,
        items: "Items | Sequence[str] | Sequence[Id]",
        *,
        ids: Sequence[Id] | None = None,
        embeddings: Array | None = None,
        trust_remote_code: bool = False,
    ) -> Array:
        """Make items that were not in the catalog recommendable from their text alone (cold start).

        Parameters
        ----------
        items
            A table with the columns of the fit's items (a DataFrame, a path, ...), texts by id, or a list of
            texts (of ids, beside ``embeddings`` alone).
        ids
            Of the texts; numbered after the largest id, or ``added-0`` and so on, when not given.
        embeddings
            (items, d) instead of embedding the text with the encoder that the workspace records.
        trust_remote_code
            Let code of that encoder run; that the workspace records it is not enough. An estimator whose
            ``encoder`` says so does too.

        Returns
        -------
        The ids. An id that was added before replaces that item.

        Raises
        ------
        ConfigError
            When the model does not use text, or the encoder that embedded the catalog is not known, was
            changed since, or runs code that was not allowed.
        DataError
            For ids that the catalog has, missing text, embeddings of another dimension or with NaN.
        WorkspaceLockedError
            While a run holds the workspace.
        """
        from l3ae_dist.embed.new_item_features import features_of_new

        model = self._fitted()
        model.cold.check()
        vectors = None if embeddings is None else np.asarray(embeddings)
        if isinstance(items, list | tuple | np.ndarray) and not len(items):
            return np.empty(0, object)
        named, titles, texts = NewItems(items, ids, vectors).named(model.dataset, model.added())
        features = str(model.document.embedding)
        trusts = trust_remote_code or self._trusts_code()
        rows = features_of_new(features, model.stored, texts, vectors, trust_remote_code=trusts)
        write_added(model.workspace, features, AddedItems(named, titles, rows))
        return named

    def append(
        self,
        interactions: Table,
        items: "Items | None" = None,
        *,
        embeddings: "Vectors | None" = None,
        options: SectionValues | None = None,
        compute: SectionValues | None = None,
        name: str | None = None,
        trust_remote_code: bool = False,
        on_event: OnEvent | None = None,
    ) -> Self:
        """Add interactions to those of the fit and fit again, as :func:`l3ae_dist.append` does.

        The new model becomes the current one of the workspace; this one is kept there under its name.

        Parameters
        ----------
        interactions
            The new log, with the columns of the one that was fitted.
        items
            Catalog rows of new items.
        embeddings
            Rows for the new items, where the model's embeddings were given too.
        options
            Changes to the ingest options, such as column names or ``unknown_items="drop"``.
        compute
            Section of the configuration; that of an estimator is its own when None.
        name
            Name of the new model; its kind, the date and a number when None.
        trust_remote_code
            Let code of the encoder run for the texts of new items, as :meth:`add_items` does.
        on_event
            Called with every event.

        Returns
        -------
        The model of all interactions: a new one for a model, which stays as it is; an estimator itself, with
        its fitted attributes renewed (``result_["append"]`` says what was new).

        Raises
        ------
        DataError
            For data that cannot be used; everything is as it was then.
        ConfigError
            For an unknown option.
        WorkspaceLockedError
            While another run writes to the workspace.
        """
        from l3ae_dist.pipeline.append import append_named
        from l3ae_dist.pipeline.inputs import Inputs

        how = self._growth(options, compute, name, trust_remote_code, on_event)
        url, new = self._fitted().workspace.url, Inputs(interactions, items, embeddings)
        return self._refitted(append_named(url, new, how))

    def update(
        self,
        interactions: Table,
        items: "Items | None" = None,
        *,
        embeddings: "Vectors | None" = None,
        options: SectionValues | None = None,
        compute: SectionValues | None = None,
        name: str | None = None,
        trust_remote_code: bool = False,
        on_event: OnEvent | None = None,
    ) -> Self:
        """Add interactions to those of the fit by changing its inverse, as :func:`l3ae_dist.update` does.

        The new model becomes the current one of the workspace; this one is kept there under its name.

        Parameters
        ----------
        interactions, items, embeddings, options, compute, name, trust_remote_code, on_event
            As :meth:`append` takes them.

        Returns
        -------
        The model of all interactions, as :meth:`append` returns it (``result_["update"]`` says by how many
        rows the inverse was changed).

        Raises
        ------
        DataError, ConfigError, WorkspaceLockedError
            As :meth:`append` does.
        """
        from l3ae_dist.pipeline.inputs import Inputs
        from l3ae_dist.pipeline.update import update_named

        how = self._growth(options, compute, name, trust_remote_code, on_event)
        url, new = self._fitted().workspace.url, Inputs(interactions, items, embeddings)
        return self._refitted(update_named(url, new, how))

    def forget(
        self,
        users: "Sequence[Id]" = (),
        *,
        erase: bool = False,
        deadline: "str | int | date | None" = None,
        compute: SectionValues | None = None,
        name: str | None = None,
        on_event: OnEvent | None = None,
    ) -> Self:
        """Take users out of the current model of the workspace, as :func:`l3ae_dist.forget` does.

        Parameters
        ----------
        users, erase, deadline, compute, name, on_event
            As :func:`l3ae_dist.forget` takes them; the section of an estimator is its own when None.

        Returns
        -------
        The model without them: a new one for a model, an estimator itself (``result_["forget"]`` says whether
        they are erased).

        Raises
        ------
        UnknownIdError, ConfigError, DataError, WorkspaceLockedError
            As :func:`l3ae_dist.forget` does. A model that is not the current one of its workspace is refused.
        """
        from l3ae_dist.pipeline.forget import Forgetting, forget_named
        from l3ae_dist.pipeline.named_models import read_model

        model, own = self._fitted(), self._compute() if compute is None else compute
        current = read_model(model.workspace).label
        if model.label != current:
            raise ConfigError(
                f"{model.label} is not the current model of {model.workspace.url}, and users are "
                f"forgotten in that one, which is {current}; load it."
            )
        how = Forgetting(erase, deadline, own, name, on_event)
        return self._refitted(forget_named(model.workspace.url, users, how))

    def _growth(
        self,
        options: SectionValues | None,
        compute: SectionValues | None,
        name: str | None,
        trust_remote_code: bool,
        on_event: OnEvent | None,
    ) -> "Growth":
        """Return the options of an append or update of this model, with what an estimator has of them."""
        from l3ae_dist.pipeline.append import Growth

        own = self._compute() if compute is None else compute
        trusts = trust_remote_code or self._trusts_code()
        return Growth(options, own, self._fitted().label, name, trusts, on_event)

    def evaluate(
        self,
        *,
        metric: str = "ndcg@20",
        ks: Sequence[int] = (5, 10, 20, 50),
        by: Sequence[Literal["popularity", "activity"]] = (),
        beside: Sequence[Literal["ease", "ease_text"]] = ("ease",),
        bootstrap: int = 1000,
        seed: int = 0,
        max_users: int | None = None,
        compute: SectionValues | None = None,
        on_event: OnEvent | None = None,
    ) -> ResultDocument:
        """Measure the model on what the fit held out, beside EASE at the same ridge.

        Parameters
        ----------
        metric
            The metric that is compared between models, such as ``"ndcg@20"`` or ``"recall@10"``.
        ks
            Cut-offs of the metrics; that of ``metric`` is added.
        by
            Also measure by item popularity and by user activity, in fifths.
        beside
            Models to measure beside this one, where that inverts nothing more.
        bootstrap
            Resamples of the intervals over users; 0 leaves them out, and with them the comparisons.
        seed
            Seed of the resamples and of the sample of users.
        max_users
            Measure a sample of so many users, the same ones every time; when None all, or a sample of
            100,000 where all would cost too much.
        compute
            Section of the configuration, such as ``{"memory_budget": "1GiB"}``; that of an estimator is its
            own when None.
        on_event
            Called with every event, such as a :func:`~l3ae_dist.runtime.watch.progress.progress_printer`.

        Returns
        -------
        ``models`` with the metrics of each on ``valid`` and ``test``, ``comparison`` (paired over users) and
        what :func:`l3ae_dist.pipeline.run.run` tells of every run.

        Raises
        ------
        ConfigError
            When the fit held nothing out (``split`` is ``none``, an estimator's default).
        """
        from l3ae_dist.config.load import make_config
        from l3ae_dist.pipeline.evaluate import evaluate_workspace

        what = {"metric": metric, "ks": ks, "by": by, "beside": beside}
        values = {
            "workspace": self._fitted().workspace.url,
            "evaluate": {**what, "bootstrap": bootstrap, "seed": seed, "max_users": max_users},
            "compute": (self._compute() if compute is None else compute) or {},
        }
        return evaluate_workspace(make_config(values), model=self._fitted().label, on_event=on_event)

    def save(self, url: str | Path) -> None:
        """Copy what the model needs (neither the Gram matrix nor L) into a new workspace.

        Parameters
        ----------
        url
            Path or URL that is empty or not there.

        Raises
        ------
        WorkspaceError
            When something is there already.
        """
        from l3ae_dist.model.saving import save_model

        model = self._fitted()
        save_model(model.workspace, model.document, str(url))

    def sparse_weights(
        self, k: int | Literal["all"] | None = 100, *, memory_budget: int | str = MEMORY_BUDGET
    ) -> "csr_matrix":
        """Return the ``k`` largest ``|B_ij|`` of every column j as a SciPy matrix.

        Parameters
        ----------
        k
            Weights for each item; ``"all"`` or None for all of B.
        memory_budget
            Bytes that this process may hold for it, beside the interpreter; also such as ``"2GiB"``.

        Returns
        -------
        (n_items, n_items) float32 CSR in the order of ``item_ids_``: ``histories @ weights`` are scores.

        Raises
        ------
        BudgetError
            When so many weights do not fit, with the largest k that does.
        ConfigError
            When ``k`` is not positive.
        """
        return kept_weights(self._fitted(), ExportOptions(k, memory_budget=memory_budget), ignore)

    def export_weights(
        self,
        path: str | Path,
        k: int | Literal["all"] | None = 100,
        *,
        format: Format = "npz",
        dtype: Literal["float32", "float64"] = "float32",
        memory_budget: int | str = MEMORY_BUDGET,
        client: "distributed.Client | None" = None,
        on_event: OnEvent = ignore,
    ) -> ExportHeader:
        """Keep the ``k`` largest ``|B_ij|`` of every column j (what predicts item j), in files in a folder.

        Parameters
        ----------
        path
            Local folder to make; an earlier export there that nobody changed is replaced at the end, anything
            else is refused before the export is made.
        k
            Weights for each item; equal magnitudes by lower row, zeros are not stored; the diagonal is 0
            unless the model has ``keep_diagonal``. ``"all"`` or None keeps all of B.
        format
            ``"npz"`` (what :func:`l3ae_dist.serving.load_export` reads), ``"parquet"`` or ``"both"``.
        dtype
            Of the stored weights.
        memory_budget
            Bytes that this process may hold for it, beside the interpreter; also such as ``"2GiB"``.
        client
            A ``distributed.Client``: the column tiles are made by its workers (under the workspace's lock,
            in the workspace, resumable) instead of one after the other in this process.
        on_event
            Called with ``stage_start``, ``tile`` and ``stage_end`` events.

        Returns
        -------
        The header: model, params, k, n_items, entries, dtype, certificate, versions.

        Raises
        ------
        BudgetError
            When so many weights do not fit, with the numbers and the largest k that does.
        ConfigError
            When ``k`` is not positive, or the format is none of the three.
        WorkspaceError
            When the folder holds something else or cannot be written.

        Notes
        -----
        Cost: n^2 (1 + 2 d) flops; each tile of the lower triangle is read once (twice on a cluster).
        """
        options = ExportOptions(k, format, dtype, memory_budget)
        return write_export(self._fitted(), path, options, client=client, on_event=on_event)
