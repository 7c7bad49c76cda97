"""What may become of a fault: the undisturbed answer, or one sentence; and which of it is compared."""

import json
import re
from dataclasses import dataclass

from chaos.job import Answer, Questions

LONGEST = 700
# What of a result, and of a model's document, is an answer; the rest are times, places and progress.
RESULT = ("dataset", "embedding", "models", "comparison", "certificate", "users", "semantic_route")
MODEL = ("dataset", "embedding", "arrays", "terms")
# Commands that describe what is there: after a fault something else is.
DESCRIBE = ("du", "gc", "report")
ARTIFACTS = (
    "items/", "users/", "interactions/", "words/", "embeddings/", "grams/", "factors/", "semantic/", "crosses/", "models/",
)  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """The undisturbed job at one moment: its files, and what its commands tell.

    Parameters
    ----------
    files
        Of the workspace.
    answers
        By the name of the question; before a model is fitted, of ``status`` alone.
    needed
        Files that a run makes where nothing was.
    """

    files: dict[str, bytes]
    answers: dict[str, object]
    needed: frozenset[str]


def compared(name: str, told: object) -> object:
    """Return the part of an answer that is compared."""
    if name in DESCRIBE or not isinstance(told, dict):
        return None if name in DESCRIBE else told
    if name in ("run", "evaluate"):
        return {key: told.get(key) for key in RESULT}
    if name == "status":
        model = told.get("model") or {}
        return {key: model.get(key) for key in MODEL}
    if name == "verify":
        return told.get("damage")
    return told


def sentence_fault(answer: Answer) -> str | None:
    """Say what is wrong with a refusal; None when it is one sentence, with an exit code, without a traceback."""
    if answer.crash:
        return f"a traceback: {answer.crash[-1500:]}"
    if "Traceback" in answer.err or "internal error" in answer.err:
        return f"an internal error: {answer.err[-1500:]}"
    said = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    if len(said) != 1 or not answer.err.rstrip().endswith(said[-1]):
        return f"exit code {answer.code} without one sentence at the end: {answer.err[-600:]!r}"
    if len(said[0]) > LONGEST:
        return f"a sentence of {len(said[0])} characters: {said[0]}"
    return None


def judge(
    name: str,
    questions: Questions,
    answer: Answer,
    allowed: list[Reference],
    damaged: list[str] | None = None,
) -> str | None:
    """Say what is wrong with an answer after a fault; None when it is right, or a refusal in a sentence.

    Parameters
    ----------
    name, questions, answer
        What was asked, and the answer.
    allowed
        States whose answers are right.
    damaged
        Chunks that are not those of any allowed state, which ``verify`` must tell; None when it need not.
    """
    if answer.crash:
        return f"a traceback: {answer.crash[-1500:]}"
    if name == "verify" and answer.code == 6:
        return None if "Traceback" not in answer.err else answer.err
    if answer.code != 0:
        return sentence_fault(answer)
    try:
        told = compared(name, questions.told(name, answer))
    except (ValueError, KeyError, OSError) as error:
        return f"an answer that cannot be read, {type(error).__name__}: {error}"
    if name == "verify" and damaged:
        return f"verify finds nothing, but {damaged[:4]} are not what was written"
    if name in DESCRIBE or name == "verify":
        return None
    wanted = [compared(name, state.answers[name]) for state in allowed if name in state.answers]
    return None if told in wanted else f"another answer: {difference(told, wanted[-1] if wanted else None)}"


def difference(told: object, wanted: object) -> str:
    """Say in a line where two values differ first."""
    if isinstance(told, dict) and isinstance(wanted, dict) and set(told) == set(wanted):
        for key in wanted:
            if told[key] != wanted[key]:
                return f"{key}: {difference(told[key], wanted[key])}"
    if isinstance(told, list) and isinstance(wanted, list) and len(told) == len(wanted):
        for i, (a, b) in enumerate(zip(told, wanted, strict=True)):
            if a != b:
                return f"[{i}] {difference(a, b)}"
    return f"{json.dumps(told, default=str):.200} for {json.dumps(wanted, default=str):.200}"


def is_chunk(key: str) -> bool:
    """Tell whether a file holds rows of an array."""
    return key.startswith(ARTIFACTS) and re.search(r"/c/\d+(/\d+)?$", key) is not None


def other_chunks(now: dict[str, bytes], wanted: dict[str, bytes]) -> list[str]:
    """List the chunks of ``wanted`` that are missing or have other bytes."""
    return [key for key, data in wanted.items() if is_chunk(key) and now.get(key) != data]


def other_artifacts(now: dict[str, bytes], wanted: dict[str, bytes]) -> list[str]:
    """List chunks, and headers of arrays, that are missing or have other contents."""
    return other_chunks(now, wanted) + [
        key
        for key, data in wanted.items()
        if key.startswith(ARTIFACTS)
        and key.endswith("/zarr.json")
        and b'"array"' in data
        and not _same_header(now.get(key, b""), data)
    ]


def _same_header(one: bytes, other: bytes) -> bool:
    """Tell whether two headers say the same: blanks do not count, to their digests either."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False
