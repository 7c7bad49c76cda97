"""The dataset that a table should give, in plain Python: slow, and written without a look at the package."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

MASK = (1 << 64) - 1
_CANONICAL = re.compile(r"0|-?[1-9][0-9]*")


def written_ids(values: Sequence[str]) -> list[int] | list[str]:
    """Return ids of a text file: integers where each one is written as its integer is, else all as they stand."""
    if all(_CANONICAL.fullmatch(value) and -(2**63) <= int(value) < 2**63 for value in values):
        return [int(value) for value in values]
    return list(values)


@dataclass(frozen=True)
class Wanted:
    """What is asked of a log beside its ids.

    Parameters
    ----------
    weight, rating, time, label
        Whether the column of that name counts.
    threshold
        Ratings below it are left out.
    split
        The kind of split, where there are no labels.
    seed
        Of the random split.
    """

    weight: bool = False
    rating: bool = False
    time: bool = False
    label: bool = False
    threshold: float = 3.0
    split: str = "none"
    seed: int = 0


@dataclass
class Expected:
    """Ids and, by split, a mapping from user to a mapping from item to weight."""

    users: list = field(default_factory=list)
    splits: dict = field(default_factory=dict)
    zeros: int = 0


def expected_dataset(rows: Sequence[dict], items: Sequence[object], wanted: Wanted) -> Expected:
    """Return the dataset of rows, whose ids are of their final kind.

    Parameters
    ----------
    rows
        user_id, item_id, and what ``wanted`` names.
    items
        Ids of the catalog, in its order.
    wanted
        What counts.
    """
    kept, zeros = [], 0
    for row in rows:
        if wanted.rating and row["rating"] < wanted.threshold:
            continue
        if wanted.weight and row["weight"] == 0:
            zeros += 1
            continue
        kept.append(row)
    merged: dict = {}
    names = ("train", "valid", "test")
    for row in kept:
        cell = merged.setdefault((row["user_id"], row["item_id"]), {"weight": 0.0, "time": None, "label": 2})
        label = names.index(row["label"]) if wanted.label else 2
        if label < cell["label"]:
            cell["weight"], cell["label"] = 0.0, label
        if label == cell["label"]:
            cell["weight"] += row["weight"] if wanted.weight else 1.0
        if wanted.time:
            cell["time"] = row["time"] if cell["time"] is None else max(cell["time"], row["time"])
    if not wanted.weight:
        for cell in merged.values():
            cell["weight"] = 1.0
    users = sorted({user for user, _ in merged})
    places = {item: place for place, item in enumerate(items)}
    splits: dict = {name: {} for name in names}
    for row, user in enumerate(users):
        mine = sorted((places[item], item) for owner, item in merged if owner == user)
        if wanted.label:
            codes = [merged[user, item]["label"] for _, item in mine]
        elif wanted.split == "leave_last_out":
            codes = _last_out([(merged[user, item]["time"], place) for place, item in mine])
        elif wanted.split == "random":
            codes = _random([_uniform(wanted.seed, row, place) for place, _ in mine])
        else:
            codes = [0] * len(mine)
        for code, (_, item) in zip(codes, mine, strict=True):
            splits[names[code]].setdefault(user, {})[item] = merged[user, item]["weight"]
    return Expected(users, splits, zeros)


def _last_out(keys: list) -> list[int]:
    """The last is for the test, the one before for validation, where there are three."""
    codes = [0] * len(keys)
    if len(keys) >= 3:
        order = sorted(range(len(keys)), key=keys.__getitem__)
        codes[order[-1]], codes[order[-2]] = 2, 1
    return codes


def _random(draws: list[float], share: float = 0.1) -> list[int]:
    """The smallest draws are for the test, the next for validation."""
    codes = [0] * len(draws)
    if len(draws) >= 3:
        held = max(int(len(draws) * share), 1)
        order = sorted(range(len(draws)), key=draws.__getitem__)
        for place in order[:held]:
            codes[place] = 2
        for place in order[held : 2 * held]:
            codes[place] = 1
    return codes


def _uniform(seed: int, *keys: int) -> float:
    """SplitMix64's finaliser over the keys (Steele, Lea and Flood 2014)."""
    state = seed & MASK
    for key in keys:
        state = (state + key + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return (state >> 11) / 2.0**53
