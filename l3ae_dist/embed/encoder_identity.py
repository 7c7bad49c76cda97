"""Identity of an encoder: commit of a model of the hub, content of one in a folder; and whose code runs."""

import os
import re
import time
from collections.abc import Mapping
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path

from l3ae_dist.config.embedding import PRESETS, EncoderConfig
from l3ae_dist.config.extras import require
from l3ae_dist.config.load import make_config
from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import shown
from l3ae_dist.storage.fingerprint import fingerprint

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_NAME = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?", re.ASCII)
_PACKAGE = "package:"
# A file whose state changed so short a time ago may change again without its times telling.
_SETTLED_NS = 2 * 10**9


def encoder_fields(options: EncoderConfig) -> dict[str, object]:
    """Return what rows depend on beside their texts; how texts are batched does not count.

    A model of the hub is named by its commit, one in a folder by the content of its files.

    Raises
    ------
    ConfigError
        For a model of the hub whose commit is neither given nor that of the local cache.
    """
    options = pinned(options)
    fields = options.model_dump(exclude={"batch_tokens", "rows_per_chunk"})
    if options.revision is None:  # ids of embeddings that name none are as before
        del fields["revision"]
    folder = os.path.expanduser(options.model)
    return fields | {"model": _folder_identity(Path(folder))} if os.path.isdir(folder) else fields


def pinned(options: EncoderConfig) -> EncoderConfig:
    """Return an encoder with its preset's values, and a model of the hub at a commit.

    A branch or a tag, ``main`` where none is given, is that of the local cache: it moves only when the cache
    does, and other rows are made then.

    Raises
    ------
    ConfigError
        For what is no folder and no name of a model, and for a model of the hub of which no commit is given
        and the cache has none.
    """
    options = options.resolved()
    if not _is_of_hub(options.model):
        return options
    if _HUB_NAME.fullmatch(options.model) is None:
        raise ConfigError(
            f"the encoder {shown(options.model)} is neither a folder that is there nor the name of a model, "
            "OWNER/NAME; correct encoder.model."
        )
    if _is_commit(options.revision):
        return options
    commit = _cached_commit(options.model, options.revision)
    if commit is None:
        branch = shown(options.revision or "main")
        raise ConfigError(
            f"the encoder {shown(options.model)} is named by its branch {branch}, which can move, and is not "
            "in this machine's Hugging Face cache, which would tell the commit; set encoder.revision to a "
            f"commit, the 40 digits of one listed at https://huggingface.co/{options.model}/commits/main, "
            f"or run `hf download {options.model}` first."
        )
    return options.model_copy(update={"revision": commit})


def identity(options: EncoderConfig) -> str:
    """Return the fingerprint of an encoder by what rows depend on."""
    return fingerprint(encoder_fields(options))


def recorded_encoder(params: Mapping[str, object], *, trust_remote_code: bool) -> EncoderConfig:
    """Return the encoder that a workspace records; no code runs because the record says so.

    Parameters
    ----------
    params
        Parameters of the completion record of embeddings.
    trust_remote_code
        Whether this user lets code of the model run.

    Raises
    ------
    ConfigError
        When the record asks for code that this user did not allow, or for a package that is no preset.
    """
    encoder = make_config({"workspace": "", "encoder": dict(params)}).encoder
    if not _is_known_package(encoder.model):
        raise ConfigError(
            f"the workspace records the encoder {shown(encoder.model)}, and only packages of presets are "
            "imported at its word; give embeddings= instead of texts."
        )
    if encoder.trust_remote_code and not trust_remote_code:
        raise ConfigError(
            f"the workspace records that the encoder {shown(encoder.model)} runs code of its own, which a "
            "workspace cannot allow; read that code, then say trust_remote_code=True (on the command line "
            "--set encoder.trust_remote_code=true), or give embeddings."
        )
    return encoder


def may_be_loaded(params: Mapping[str, object], *, trust_remote_code: bool) -> bool:
    """Tell whether :func:`recorded_encoder` returns an encoder for the parameters of a record.

    Parameters
    ----------
    params, trust_remote_code
        As :func:`recorded_encoder` takes them.
    """
    allowed = trust_remote_code or not params.get("trust_remote_code")
    return bool(allowed) and _is_known_package(str(params.get("model", "")))


def names_its_model(encoder: EncoderConfig) -> bool:
    """Tell whether a recorded encoder can only be one model; a branch of the hub can be several."""
    return not _is_of_hub(encoder.model) or _is_commit(encoder.revision)


def _is_known_package(model: str) -> bool:
    return not model.startswith(_PACKAGE) or model in {preset["model"] for preset in PRESETS.values()}


def _is_of_hub(model: str) -> bool:
    return not model.startswith((_PACKAGE, ".", "/", "~")) and not os.path.isdir(model)


def _is_commit(revision: str | None) -> bool:
    return _COMMIT.fullmatch(revision or "") is not None


def _cached_commit(model: str, revision: str | None) -> str | None:
    """Return the commit of a branch or a tag in the local cache; None where it is not there."""
    require("embed", "an encoder of the hub")
    from huggingface_hub import try_to_load_from_cache

    # sentence-transformers knows models of its own by short names, and may have a cache of its own
    names = [model] if "/" in model else [f"sentence-transformers/{model}", model]
    cache = os.environ.get("SENTENCE_TRANSFORMERS_HOME")
    for name in names:
        for file in ("config.json", "modules.json"):
            try:
                found = try_to_load_from_cache(name, file, cache_dir=cache, revision=revision)
            except ValueError:  # no name of a model, or of a revision, on the hub
                return None
            commit = Path(found).parent.name if isinstance(found, str) else ""
            if _is_commit(commit):
                return commit
    return None


def _folder_identity(folder: Path) -> list[list[str]]:
    """Name the files of a model by their content; hidden ones are notes of the tool that fetched it."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    seen = [path for path in files if not any(part.startswith(".") for part in path.parts)]
    return [[str(path), _content(folder / path)] for path in seen]


def _content(path: Path) -> str:
    """Return the digest of a file, which is read once while its state tells that it is the same."""
    state = path.stat()
    key = (str(path.resolve()), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    settled = time.time_ns() - state.st_ctime_ns > _SETTLED_NS
    return _digest(key) if settled else _digest.__wrapped__(key)


@lru_cache(maxsize=256)
def _digest(key: tuple[str, int, int, int, int]) -> str:
    with open(key[0], "rb") as file:
        return file_digest(file, "sha256").hexdigest()
