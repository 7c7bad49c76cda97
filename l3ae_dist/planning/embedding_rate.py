"""The embedding rate of a calibration: texts per second of one actor."""

import time

import numpy as np

from l3ae_dist.config.embedding import EncoderConfig
from l3ae_dist.config.extras import require

# About the length of a title with a short description.
_WORDS = (
    "steel", "cotton", "lamp", "garden", "kitchen", "travel", "story", "music",
    "water", "light", "small", "large", "blue", "red", "old", "new",
)  # fmt: skip
_LENGTH = 20
_WARM, _TIMED = 16, 160


def sample_texts(count: int) -> list[str]:
    """Make texts of twenty words, all different."""
    random = np.random.default_rng(0)
    return [" ".join(random.choice(_WORDS, _LENGTH).tolist()) for _ in range(count)]


def encode_rate(options: EncoderConfig, device: str) -> float:
    """Measure the texts per second of an encoder with one thread, or on a GPU, once it is loaded."""
    require("embed", "measuring an encoder")
    import torch

    from l3ae_dist.embed.encoders import load_encoder

    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)  # as an actor has it
    try:
        encoder = load_encoder(options, device)
        texts = sample_texts(_WARM + _TIMED)
        encoder.encode(texts[:_WARM])
        began = time.perf_counter()
        encoder.encode(texts[_WARM:])
        return _TIMED / (time.perf_counter() - began)
    finally:
        torch.set_num_threads(before)


def measure_texts(options: EncoderConfig, cluster: str, gpus: float | None) -> float:
    """Measure the texts per second of one actor: on ``ray`` as a task there, else in this process.

    Parameters
    ----------
    options
        The encoder.
    cluster
        The kind of cluster that is configured.
    gpus
        GPUs of an actor; 1 where Ray has one when None.

    Raises
    ------
    ConfigError
        When the encoder cannot be loaded.
    """
    if cluster != "ray":
        return encode_rate(options, "cpu")
    import ray

    if gpus is None:
        gpus = 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0
    device = "cuda" if gpus else "cpu"
    return float(
        ray.get(ray.remote(num_cpus=0 if gpus else 1, num_gpus=gpus)(encode_rate).remote(options, device))
    )
