"""What the structure of the package is held to, counted from its source; ``make house`` prints and bounds it.

``python tests/house.py`` prints one line for each bound and fails where one is crossed; ``--list NAME`` prints
the places that a line counts, and ``--list NAME FOLDER`` those of one folder.
"""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).resolve().parents[1] / "l3ae_dist"

# From the ground up: folders (the root has no name) and their modules; a module may import those of its own
# layer and of the layers before it.
LAYERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "",
        (
            "errors",
            "messages",
            "units",
        ),
    ),
    (
        "linalg",
        (
            "affine",
            "arithmetic",
            "array_files",
            "arrays",
            "blas",
            "closed_form",
            "eigen",
            "heads",
            "kernels",
            "ranks_in_rows",
            "rank_updates",
            "sparse_gram",
            "spectral",
            "staging",
            "tiles",
            "top_k",
            "torch_kernels",
            "triangle_tensors",
            "triangles",
            "visible_gpus",
            "whitening",
        ),
    ),
    (
        "",
        ("metrics",),
    ),
    (
        "config",
        (
            "axes",
            "evaluated_models",
            "compute",
            "data",
            "embedding",
            "extras",
            "evaluate",
            "load",
            "loopback",
            "members",
            "model",
            "model_name",
            "prices",
            "run_config",
            "scheduler_address",
            "section",
            "sweep",
            "swept_models",
            "transformed_spec",
        ),
    ),
    (
        "storage",
        (
            "blobs",
            "chunks",
            "completeness",
            "credentials",
            "damage_notes",
            "direct_io",
            "crc32c",
            "payload",
            "done_marks",
            "documents",
            "export_header",
            "fingerprint",
            "headers",
            "forked",
            "lazy_arrays",
            "layout.kinds",
            "layout.meta",
            "layout.paths",
            "layout.update_paths",
            "layout.stage_arrays",
            "local_blobs",
            "holder",
            "kept",
            "lock",
            "mend",
            "object_blobs",
            "patience",
            "zarr_store",
            "open_blobs",
            "os_errors",
            "output_files",
            "partial_files",
            "permissions",
            "readers",
            "records",
            "remains",
            "repair",
            "root",
            "rows",
            "scratch",
            "sent_chunks",
            "stages",
            "accumulators",
            "operand_stream",
            "tier_pace",
            "tile_cache",
            "tile_requests",
            "local_copies",
            "tile_reader",
            "tile_source",
            "array_sizes",
            "vectors",
            "workspace",
        ),
    ),
    ("", ("serving",)),
    (
        "data",
        (
            "append",
            "appended_logs",
            "as_dask",
            "published_dataset",
            "catalog",
            "changes",
            "columns",
            "core",
            "dataset",
            "dataset_stats",
            "dataset_summary",
            "distribution",
            "intake.profile",
            "demo",
            "features",
            "forgotten",
            "ingest",
            "intake.column_hash",
            "intake.columnar",
            "intake.csv_rows",
            "intake.decompress",
            "intake.delimited",
            "intake.dialect",
            "intake.encodings",
            "intake.files",
            "intake.folder_keys",
            "intake.formats",
            "intake.identity",
            "intake.ids",
            "intake.iso_dates",
            "intake.lakehouse",
            "intake.listing",
            "intake.locate",
            "intake.arrow_objects",
            "intake.frames",
            "intake.memory_parts",
            "intake.numbers",
            "intake.odd_ids",
            "intake.objects",
            "intake.pairs",
            "intake.python_values",
            "intake.open_table",
            "intake.parts",
            "intake.plain_values",
            "intake.refused_rows",
            "intake.json_lines",
            "intake.json_text",
            "intake.prepare",
            "intake.row_scan",
            "intake.search",
            "intake.small_tables",
            "intake.stamps",
            "intake.texts",
            "intake.times",
            "intake.well_known",
            "pickles",
            "row_writer",
            "shuffle.each",
            "shuffle.encode",
            "shuffle.global_ids",
            "shuffle.id_sets",
            "shuffle.item_blocks",
            "shuffle.k_core",
            "shuffle.order",
            "shuffle.passes",
            "shuffle.place",
            "shuffle.records",
            "shuffle.scan",
            "shuffle.spills",
            "shuffle.stored_vectors",
            "shuffle.user_blocks",
            "splits",
            "dataset_store",
            "stored_entries",
            "without_users",
            "synthetic",
            "items_table",
            "linear_systems",
            "tables",
            "multi_hot_words",
        ),
    ),
    (
        "graphs",
        (
            "assemble",
            "batch_scoring",
            "blocks",
            "cholesky",
            "cut_sums",
            "chunk_tasks",
            "context",
            "weight_entries",
            "execute",
            "export",
            "gram",
            "inverse",
            "inverse_update",
            "make_tiles",
            "device_tiles",
            "tile_memory",
            "held_out_ranks",
            "holders",
            "score",
            "semantic_product",
            "shared_scoring",
            "tasks",
            "score_terms",
            "weight_blocks",
        ),
    ),
    (
        "runtime",
        (
            "backends.address",
            "backends.certificate",
            "backends.dask_on_ray",
            "backends.dask_session",
            "backends.frozen",
            "backends.frozen_scheduler",
            "backends.in_process",
            "backends.local",
            "backends.ray_placement",
            "backends.reached",
            "backends.ray_session",
            "backends.session",
            "backends.standstill",
            "bounded",
            "event_log",
            "event_store",
            "events",
            "executors",
            "main_guard",
            "memory",
            "on_workers",
            "peer_reads",
            "tile_holders",
            "run_graph",
            "spans",
            "streams",
            "versions",
            "watch.dashboard",
            "watch.dashboard_page",
            "watch.observers",
            "watch.progress",
            "watch.run_history",
            "watch.run_progress",
            "watch.run_view",
            "watch.tile_figure",
            "watch.timelines",
            "watch.stage_progress",
            "watch.task_times",
            "watch.terminal",
            "watched_passes",
            "submission_window",
        ),
    ),
    (
        "embed",
        (
            "actor_pool",
            "actors",
            "batching",
            "core_order",
            "embedding_table",
            "encoder_identity",
            "encoders",
            "frozen_actors",
            "imports",
            "new_item_features",
            "reuse",
            "run",
            "stored_transform",
            "value_range",
            "text_digests",
            "transform",
        ),
    ),
    (
        "planning",
        (
            "advice",
            "block_choice",
            "calibrate",
            "core_prices",
            "data_size",
            "decide_arithmetic",
            "embedding_rate",
            "estimate",
            "forecast",
            "formulas",
            "intermediates",
            "known_data",
            "look_ahead",
            "memory_benchmarks",
            "model_cluster",
            "plan",
            "plan_inputs",
            "ranking_plan",
            "plan_of_config",
            "rates",
            "resources",
            "simulated_accumulators",
            "simulated_solve",
            "simulated_links",
            "simulator",
            "smallest_change",
            "stage_counts",
            "stage_plans",
            "storage_need",
            "task_model",
            "tier_traffic",
            "tile_size",
            "traffic",
            "transform_stage",
            "trial_solve",
            "worker_benchmarks",
            "worker_memory",
        ),
    ),
    (
        "solve",
        (
            "certificate",
            "factor",
            "diagonal_check",
            "diagonals",
            "factorisation",
            "inverse_updates",
            "family",
            "head_batches",
            "model_parts",
            "reuse",
            "semantic_certificate",
            "semantic_phase",
            "sound_inputs",
            "spectral_filter",
            "variants",
            "artifact_store",
        ),
    ),
    (
        "evaluation",
        (
            "evaluate",
            "model_figures",
            "groups",
            "significance",
            "verdict",
            "sweep_ranking",
            "list_quality",
            "evaluate_lists",
            "top_lists",
        ),
    ),
    (
        "pipeline",
        (
            "append",
            "copies_elsewhere",
            "corrections",
            "erasure",
            "expected_work",
            "forget",
            "needed_artifacts",
            "extended_embeddings",
            "core",
            "check",
            "early_refusal",
            "early_stopping",
            "evaluate",
            "update",
            "identity",
            "ingest_place",
            "inputs",
            "job",
            "model_document",
            "replaced_model",
            "result",
            "run",
            "named_models",
            "model_search",
            "sweep",
        ),
    ),
    (
        "model",
        (
            "added_items",
            "model_arrays",
            "card",
            "cold_start",
            "demo",
            "estimator_base",
            "histories",
            "id_lists",
            "item_order",
            "estimators",
            "export",
            "export_folder",
            "fitted",
            "lifecycle",
            "linear_estimators",
            "neighbours",
            "items_to_add",
            "pair_scores",
            "popular",
            "reasons",
            "recommender",
            "rerank",
            "user_batches",
            "rules",
            "saving",
            "similar_users",
            "users",
        ),
    ),
    (
        "operations",
        (
            "checks.facts",
            "checks.judge",
            "checks.nodes",
            "checks.ray_probe",
            "checks.row",
            "checks.store",
            "doctor",
            "garbage",
            "status",
            "usage",
            "verify",
        ),
    ),
    (
        "deploy",
        (
            "machine_types",
            "manifests",
            "cluster_shape",
        ),
    ),
    (
        "serve",
        (
            "schema",
            "answers",
            "measures",
            "limits",
            "current",
            "app",
            "service",
            "alone",
            "ray_application",
        ),
    ),
    (
        "report",
        (
            "cautions",
            "compare",
            "figures",
            "formatting",
            "hyperparameters",
            "html_page",
            "mlflow_runs",
            "model_card",
            "plots",
            "profile",
            "result",
            "run",
            "run_page",
            "sweep_page",
            "tables",
            "trace",
            "trials",
            "wall_time",
            "write",
        ),
    ),
    (
        "cli",
        (
            "app",
            "append",
            "update",
            "calibrate",
            "check",
            "cluster",
            "command",
            "compare",
            "config",
            "configuration",
            "demo",
            "doctor",
            "documents",
            "du",
            "embed",
            "evaluate",
            "exits",
            "signals",
            "explain",
            "export",
            "fit",
            "forget",
            "gc",
            "ids",
            "options",
            "lists_file",
            "output",
            "plan",
            "plan_options",
            "recommend",
            "report",
            "result",
            "run",
            "serve",
            "similar",
            "simulate",
            "status",
            "sweep",
            "unlock",
            "use",
            "verify",
            "views.appended",
            "views.block_choice",
            "views.core_prices",
            "views.check",
            "views.checks",
            "views.comparison",
            "views.explanation",
            "views.forecast",
            "views.forgotten",
            "views.models",
            "views.quantities",
            "views.rates",
            "views.records",
            "views.result",
            "views.simulation",
            "views.status",
            "views.sweep",
            "views.usage",
            "views.watch",
            "watch",
        ),
    ),
)
ENGINES = {"dask", "distributed", "ray", "zarr"}
# Layers that know arrays alone.
PURE = ("", "linalg")
# Openings of a docstring that only somebody who knows the answer understands.
RIDDLES = re.compile(r"(What|How|Where|Which|Who|Whose|Whether|When|Why|Of|As|The same|Likewise)\b")


# What a path of the workspace begins with, and the names that arrays have in the folder of their artifact.
WORKSPACE_FOLDER = re.compile(
    "(added|copies|crosses|embeddings|factors|fitted|grams|interactions|items|meta|models|results|roots|scores|"
    "semantic|spectra|spectral|stages|transforms|users|weights|words)/"
)
WORKSPACE_PATH = re.compile(WORKSPACE_FOLDER.pattern + r"[\w./-]*")
ARRAY_NAME = re.compile(
    "/(L|Linv|M|P|PC|Q|V|a|bytes|c|data|diagonal|ids|image|indices|indptr|items|left|merged|offsets|partials|pc|"
    "probe|ranks|right|rows|text|title|top_items|top_values|train_csc|users|values|zarr.json)(/|$)"
)
DOCUMENT_CALLS = ("read_doc", "write_doc", "delete_doc", "list_docs")


def module_name(path: Path) -> str:
    """Name a module without the package: ``linalg.tiles``; a folder's ``__init__`` has the folder's name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def sources() -> dict[str, Path]:
    """Return every module of the package with its file."""
    return {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


@cache
def tree(name: str) -> ast.Module:
    """Parse one module."""
    return ast.parse(sources()[name].read_text(encoding="utf-8"))


@cache
def layer_of(name: str) -> int:
    """Return how high a module stands, counted in lines of :data:`LAYERS` from the ground."""
    if name in ("__init__", "__main__"):  # the lazy public names, and the command line as a module
        return len(LAYERS)
    found = [number for number, (folder, names) in enumerate(LAYERS) if _listed(name, folder, names)]
    if len(found) != 1:
        raise LookupError(f"{name} stands in {len(found)} layers; list it once in tests/house.py")
    return found[0]


def _listed(name: str, folder: str, names: tuple[str, ...]) -> bool:
    if sources()[name].name == "__init__.py":
        return name.partition(".")[0] == folder
    return name in {f"{folder}.{one}".lstrip(".") for one in names}


def imports(name: str) -> Iterator[str]:
    """Yield every module of any package that a module imports: deferred and type-only imports too."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = (f"{node.module}.{alias.name}" for alias in node.names)
            inner = [one for one in full if one.removeprefix("l3ae_dist.") in sources()]
            yield from inner or [node.module]


@cache
def inner_imports(name: str) -> frozenset[str]:
    """Return the modules of the package that a module imports."""
    found = {one.removeprefix("l3ae_dist.") for one in imports(name) if one.startswith("l3ae_dist.")}
    return frozenset(found & set(sources()) - {name})


def functions(name: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Yield every function and method with its dotted name and whether it is a method."""

    def inside(
        body: list[ast.stmt], prefix: str, method: bool
    ) -> Iterator[tuple[str, ast.FunctionDef, bool]]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from inside(node.body, f"{prefix}{node.name}.", True)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{prefix}{node.name}", node, method

    yield from inside(tree(name).body, "", False)


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef, method: bool) -> list[str]:
    """Return the names of a function's parameters, without ``self`` and ``cls``."""
    args = node.args
    names = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
    return names[1:] if method and not static else names


# ---- the counts: each yields the places that it counts


def upward_imports() -> Iterator[str]:
    """Yield imports that do not point downwards."""
    for name in sources():
        for other in sorted(inner_imports(name)):
            if layer_of(other) > layer_of(name):
                yield f"{name} -> {other}"


def unlisted_modules() -> Iterator[str]:
    """Yield modules without a layer, and names of the table without a module."""
    listed = set()
    for folder, names in LAYERS:
        listed |= {f"{folder}.{one}".lstrip(".") for one in names}
    packages = {name for name, path in sources().items() if path.name == "__init__.py"}
    yield from sorted((set(sources()) ^ listed) - {"__init__", "__main__"} - packages)


def circles() -> Iterator[str]:
    """Yield groups of modules that import each other, in functions and for types included."""
    names = list(sources())
    index = {name: number for number, name in enumerate(names)}
    pairs = [(index[a], index[b]) for a in names for b in inner_imports(a)]
    if not pairs:
        return
    rows, columns = np.array(pairs).T
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(names),) * 2)
    count, labels = connected_components(graph, connection="strong")
    for label in range(count):
        members = [names[i] for i in np.flatnonzero(labels == label)]
        if len(members) > 1:
            yield " <-> ".join(members)


def engines_on_the_ground() -> Iterator[str]:
    """Yield imports of Dask, Ray or Zarr in the layers that know arrays alone."""
    pure = {number for number, (folder, _) in enumerate(LAYERS) if folder in PURE}
    for name in sources():
        if layer_of(name) in pure:
            yield from (f"{name} -> {one}" for one in imports(name) if one.partition(".")[0] in ENGINES)


def root_modules() -> Iterator[str]:
    """Yield modules at the root of the package."""
    yield from (name for name, path in sources().items() if path.parent == ROOT)


def long_modules() -> Iterator[str]:
    """Yield modules of more than 400 lines."""
    for name, path in sources().items():
        length = len(path.read_text(encoding="utf-8").splitlines())
        if length > 400:
            yield f"{name}: {length}"


# Estimators, and their calls whose arguments are the fields of a section of the configuration; `append` as a function.
ESTIMATORS = ("model.estimators", "model.linear_estimators", "model.lifecycle", "model.recommender",
              "pipeline.append", "pipeline.update")  # fmt: skip


def long_signatures() -> Iterator[str]:
    """Yield functions of more than eight parameters, commands and estimators apart."""
    for name in sources():
        for where, node, method in functions(name):
            count = len(parameters(node, method))
            if count > 8 and not _is_command(node) and name not in ESTIMATORS:
                yield f"{name}: {where} ({count})"


def _is_command(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether a function is a command: decorated with ``command`` or ``NAME.callback()``.

    Its parameters are the options, and its docstring is the help text.
    """
    calls = (d.func if isinstance(d, ast.Call) else d for d in node.decorator_list)
    names = (d.attr if isinstance(d, ast.Attribute) else getattr(d, "id", "") for d in calls)
    return not {"command", "callback"}.isdisjoint(names)


def option_bags() -> Iterator[str]:
    """Yield public functions that take ``**options``, whose arguments no signature shows."""
    for name in sources():
        for where, node, _ in functions(name):
            if node.args.kwarg is not None and not any(part.startswith("_") for part in where.split(".")):
                yield f"{name}: {where}(**{node.args.kwarg.arg})"


def words(pattern: str) -> Iterator[str]:
    """Yield places where the source holds a pattern, as ``grep -o`` counts them."""
    for name, path in sources().items():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            yield from (f"{name}:{number}: {line.strip()}" for _ in re.finditer(pattern, line))


def written_out_paths() -> Iterator[str]:
    """Paths of a workspace that are written out outside ``storage.layout``."""
    for name in sources():
        if not name.startswith("storage.layout"):
            nodes = (node for node in ast.walk(tree(name)) if _is_path(node))
            yield from (f"{name}:{line}" for line in sorted({node.lineno for node in nodes}))


def _is_path(node: ast.AST) -> bool:
    """Tell whether a node is a path below a folder of the workspace, or builds one from a base and a name."""
    match node:
        case ast.Constant(value=str(text)):
            return text == "zarr.json" or bool(WORKSPACE_PATH.fullmatch(text))
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
            return bool(WORKSPACE_FOLDER.match(text))
        case ast.JoinedStr(values=[ast.FormattedValue(), ast.Constant(value=str(text)), *_]):
            return bool(ARRAY_NAME.match(text))
        case ast.Call(func=ast.Attribute(attr=attribute), args=[ast.Constant(value=str()), *_]):
            return attribute in DOCUMENT_CALLS
        case ast.Call(func=ast.Attribute(attr="removesuffix"), args=[ast.Constant(value=str(text))]):
            return bool(ARRAY_NAME.fullmatch(text))
    return False


def array_aliases() -> Iterator[str]:
    """Yield aliases of NumPy's arrays beside the one of ``linalg.arrays``."""
    yield from (
        place for place in words(r"^(\w+) = npt\.NDArray\[") if not place.startswith("linalg.arrays:")
    )


def public_functions() -> Iterator[tuple[str, str, ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Yield every function that others may call, with its module."""
    for name in sources():
        for where, node, method in functions(name):
            if not any(part.startswith("_") for part in (*where.split("."), *name.split("."))):
                yield name, where, node, method


def undocumented() -> Iterator[str]:
    """Yield public functions of three or more arguments whose docstring has no section Parameters."""
    for name, where, node, method in public_functions():
        text = ast.get_docstring(node) or ""
        if len(parameters(node, method)) >= 3 and "Parameters\n---" not in text and not _is_command(node):
            yield f"{name}: {where}"


def riddles() -> Iterator[str]:
    """Yield docstrings of modules, classes, functions and attributes that open with a question word or fragment."""
    for name in sources():
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                first = str(node.value.value).strip().partition("\n")[0]
                if RIDDLES.match(first) or first.endswith(":"):
                    yield f"{name}:{node.lineno}: {first}"


def not_imperative() -> Iterator[str]:
    """Yield docstrings of public functions, properties and commands apart, that open with no verb."""
    for name, where, node, _ in public_functions():
        if _is_command(node) or any(_is_property(decorator) for decorator in node.decorator_list):
            continue
        first = (ast.get_docstring(node) or "").strip("`*").partition(" ")[0].rstrip(".,:;")
        if not first or not first[0].isupper() or _is_no_verb(first):
            yield f"{name}: {where}: {(ast.get_docstring(node) or '').partition(chr(10))[0]}"


def _is_property(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Name) and "property" in decorator.id


def _is_no_verb(word: str) -> bool:
    return word in NOT_VERBS or (word.endswith(("ing", "ed", "s")) and word not in VERBS)


# Verbs that end as participles and plurals do.
VERBS = {"Address", "Bring", "Compress", "Embed", "Express", "Feed", "Guess", "Pass", "Process", "Seed"}
# First words that are no verbs; a noun can be added.
NOT_VERBS = {
    "A",
    "All",
    "An",
    "And",
    "Any",
    "Array",
    "At",
    "Below",
    "Both",
    "By",
    "Each",
    "Every",
    "Everything",
    "Few",
    "For",
    "From",
    "If",
    "In",
    "Into",
    "It",
    "Its",
    "Many",
    "Most",
    "No",
    "None",
    "Not",
    "Nothing",
    "On",
    "One",
    "Only",
    "Path",
    "Paths",
    "Seconds",
    "Size",
    "Some",
    "Somebody",
    "That",
    "The",
    "Their",
    "There",
    "This",
    "Those",
    "To",
    "Two",
    "Under",
    "Up",
    "Users",
    "With",
    "Without",
    "Zero",
}


@dataclass(frozen=True)
class Bound:
    """One count and how large it may be."""

    name: str
    places: Callable[[], Iterator[str]]
    most: int


BOUNDS = (
    Bound("root", root_modules, 7),
    Bound("unlisted", unlisted_modules, 0),
    Bound("upward", upward_imports, 0),
    Bound("circles", circles, 0),
    Bound("engines", engines_on_the_ground, 0),
    Bound("long", long_modules, 0),
    Bound("signatures", long_signatures, 0),
    Bound("options", option_bags, 0),
    Bound("any", lambda: words(r"\bAny\b"), 170),
    Bound("dictany", lambda: words(r"dict\[str, Any\]"), 20),
    Bound("aliases", array_aliases, 0),
    Bound("paths", written_out_paths, 0),
    Bound("parameters", undocumented, 0),
    Bound("riddles", riddles, 0),
    Bound("imperative", not_imperative, 0),
)


def main(arguments: list[str]) -> int:
    """Print every count beside its bound, or the places of one; return the exit status."""
    if arguments[:1] == ["--list"]:
        bound = next(one for one in BOUNDS if one.name == arguments[1])
        folder = arguments[2] if len(arguments) > 2 else ""
        found = [place for place in bound.places() if place.startswith(folder)]
        print("\n".join(found))
        print(f"{len(found)} places")
        return 0
    crossed = 0
    for bound in BOUNDS:
        count = sum(1 for _ in bound.places())
        crossed += count > bound.most
        what = (
            (bound.places.__doc__ or f"places that hold {bound.name}.")
            .partition("\n")[0]
            .removeprefix("Yield ")
        )
        print(
            f"{bound.name:<12} {count:>5} of {bound.most:>3}  {'over ' if count > bound.most else 'ok   '} {what}"
        )
    return int(crossed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
