"""Texts per second of one embedding actor."""

import time
from typing import Any

import numpy as np

from l3ae_dist.config.embedding import EncoderOptions

# About the length of a title with a short description.
_WORDS = (
    "steel", "cotton", "lamp", "garden", "kitchen", "travel", "story", "music",
    "water", "light", "small", "large", "blue", "red", "old", "new",
)  # fmt: skip
_LENGTH = 20
_WARM, _TIMED = 16, 160


def sample_texts(count: int) -> list[str]:
    """Texts of twenty words, all different."""
    random = np.random.default_rng(0)
    return [" ".join(random.choice(_WORDS, _LENGTH).tolist()) for _ in range(count)]


def encode_rate(options: dict[str, Any], device: str) -> float:
    """Texts per second of an encoder with one thread, or on a GPU, once it is loaded."""
    import torch

    from l3ae_dist.embed.encoders import load_encoder

    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)  # as an actor has it
    try:
        encoder = load_encoder(EncoderOptions.model_validate(options), device)
        texts = sample_texts(_WARM + _TIMED)
        encoder.encode(texts[:_WARM])
        began = time.perf_counter()
        encoder.encode(texts[_WARM:])
        return _TIMED / (time.perf_counter() - began)
    finally:
        torch.set_num_threads(before)


def measure_texts(options: EncoderOptions, cluster: str, gpus: float | None) -> float:
    """Texts per second of one actor: with ``ray`` in an actor of its own there, else in this process.

    Raises
    ------
    ConfigError
        When the encoder cannot be loaded.
    """
    given = options.model_dump(exclude_unset=True)
    if cluster != "ray":
        return encode_rate(given, "cpu")
    import ray

    if gpus is None:
        gpus = 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0
    device = "cuda" if gpus else "cpu"
    return float(
        ray.get(ray.remote(num_cpus=0 if gpus else 1, num_gpus=gpus)(encode_rate).remote(given, device))
    )
