"""One random table in every format and layout gives one dataset, which is that of plain Python."""

import itertools
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from intake_samples import read, rows
from intake_twin import Wanted, expected_dataset
from table_writers import COMPRESSIONS, FORMATS, OBJECTS, TextFormat, write_table

# Texts that readers have taken for something else.
HARD = (
    "007", "7", "NA", "None", "null", "nan", "true", "1e5", "0x1", "-0", "+1", "1_000", "9223372036854775808",
    "2020-01-01", "a b", " a", "a ", "é", "Ünïcode", "日本", "😀", "a,b", "a;b", "a|b", 'say "x"', '"', "'", "#", "\\",
    "\\n", "line\nbreak", "-", "=1+1", "a::b", ":", "[1]", "{}", '{"a": 1}', "e\u0301", "A1", "a", "b", "z" * 300,
)  # fmt: skip
words = st.one_of(
    st.sampled_from(HARD),
    st.text(
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\u2028\u2029"), max_size=8
    ),
)
text_ids = words.filter(lambda text: text.strip() != "" and text != "\ufeff")
integer_ids = st.one_of(st.integers(-5, 30), st.integers(-(2**63), 2**63 - 1))
# Numbers in two of these ranges are refused as times in two units.
TICKS = st.sampled_from(
    [(0, 10**8 - 1), (5 * 10**8, 5 * 10**9 - 1), (5 * 10**14, 5 * 10**15 - 1), (5 * 10**17, 2**60)]
)
STAMPS = [f"20{year:02}-0{month}-1{month}T0{month}:00:00" for year in (1, 20, 99) for month in (1, 5, 9)]


@st.composite
def tables(draw):
    """Rows of a log, its catalog, and what counts of its columns."""
    users = draw(
        st.lists(draw(st.sampled_from([text_ids, integer_ids])), min_size=1, max_size=6, unique=True)
    )
    items = draw(
        st.lists(draw(st.sampled_from([text_ids, integer_ids])), min_size=1, max_size=8, unique=True)
    )
    for ids in (users, items):  # a typed column of digits is text, and a written one is integers
        if isinstance(ids[0], str):
            ids[0] = "x" + ids[0].strip('\n"')
    times = st.sampled_from(STAMPS) if draw(st.booleans()) else st.integers(*draw(TICKS))
    row = st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(users),
            "item_id": st.sampled_from(items),
            "weight": st.sampled_from([0.0, 0.25, 1.0, 2.5, 1e3]),
            "rating": st.sampled_from([1, 2, 3, 4, 5]),
            "time": times,
            "label": st.sampled_from(["train", "valid", "test"]),
            "comment": words,
        }
    )
    log = draw(st.lists(row, min_size=1, max_size=20))
    log[0] |= {"user_id": users[0], "item_id": items[0], "weight": 1.0, "rating": 5, "label": "train"}
    catalog = [
        {
            "item_id": item,
            "title": draw(words),
            "text": draw(words),
            "year": draw(st.integers(0, 3000)),
            "n": draw(words),
        }
        for item in items
    ]
    wanted = Wanted(
        weight=draw(st.booleans()),
        rating=draw(st.booleans()),
        time=(by_time := draw(st.booleans())),
        label=draw(st.booleans()),
        split=draw(st.sampled_from(["none", "random", *(["leave_last_out"] if by_time else [])])),
        seed=draw(st.integers(0, 3)),
    )
    return log, catalog, wanted, draw(st.integers(0, 2**32))


def options_of(wanted):
    """The ingest options that ask for it."""
    options = {"split": wanted.split, "seed": wanted.seed, "text_columns": ("text", "year")}
    if wanted.weight:
        options["weight_column"] = "weight"
    if wanted.rating:
        options |= {"rating_column": "rating", "rating_threshold": wanted.threshold}
    if wanted.time:
        options["timestamp_column"] = "time"
    if wanted.label:
        options["split_column"] = "label"
    return options


def columns_of(chance, table):
    """The columns in another order, the first one in its place."""
    first, *others = table[0]
    chance.shuffle(others)
    return [first, *others]


def layout(chance, folder: Path, name, kind, table):
    """Write a table in files of one format, and return what names them."""
    how = chance.choice(["one", "many", "nested", "folder", "hive"])
    suffix = chance.choice(COMPRESSIONS) if hasattr(FORMATS[kind], "encoding") else ""
    folder = Path(tempfile.mkdtemp(prefix=name, dir=folder))
    columns = columns_of(chance, table)
    if how == "one":
        return str(write_table(folder / "log", kind, columns, table, suffix))
    cuts = sorted(chance.randrange(len(table) + 1) for _ in range(3))
    parts = [table[a:b] for a, b in itertools.pairwise([0, *cuts, len(table)])]
    if how == "hive":  # a folder's name holds a value of each of its rows
        key = columns[-1]
        values = sorted({row[key] for row in table}, key=str)
        if all(
            isinstance(value, str) and value.isalnum() and value.isascii() and len(value) < 99
            for value in values
        ):
            for value in values:
                part = [row for row in table if row[key] == value]
                write_table(folder / f"{key}={value}" / "part-0", kind, columns[:-1], part, suffix)
            return str(folder)
    for i, part in enumerate(parts):
        inner = Path(*["abc"[i % 3]] * (i if how in ("nested", "hive") else 0))
        if part or isinstance(FORMATS[kind], TextFormat):
            ending = chance.choice(COMPRESSIONS) if suffix else ""
            write_table(folder / inner / f"part-{i}", kind, columns_of(chance, table), part, ending)
    return str(folder / "**" / "part-*") if how == "many" else str(folder)


def sources(chance, folder, table, name):
    """Yield every form that can hold a table, as names and sources."""
    kinds = [kind for kind, form in FORMATS.items() if form.can_hold(table)]
    for kind in kinds:
        yield kind, lambda kind=kind: layout(chance, folder, f"{name}-{kind.replace(' ', '-')}", kind, table)
    for kind, make in OBJECTS.items():
        yield kind, lambda make=make: make(columns_of(chance, table), table)


def in_catalog_order(dataset, catalog):
    """The stored items' texts by id; a folder's parts may stand in another order."""
    return dict(
        zip(dataset.item_ids().tolist(), zip(dataset.titles(), dataset.texts(), strict=True), strict=True)
    )


def check_one_table(folder, example, most):
    """Read one table in ``most`` pairs of forms; each is the dataset of plain Python."""
    log, catalog, wanted, seed = example
    chance = random.Random(seed)
    logs, catalogs = (
        list(sources(chance, folder, log, "log")),
        list(sources(chance, folder, catalog, "items")),
    )
    chance.shuffle(logs)
    texts = {
        row["item_id"]: (row["title"], " ".join(filter(None, (row["text"], str(row["year"])))))
        for row in catalog
    }
    for i, (kind, make) in enumerate(logs[:most]):
        items_kind, make_items = catalogs[chance.randrange(len(catalogs))]
        dataset = read(folder / f"w{i}", make(), make_items(), **options_of(wanted))
        where = f"{kind}, catalog {items_kind}"
        items = dataset.item_ids().tolist()
        expected = expected_dataset(log, items, wanted)
        assert dataset.user_ids().tolist() == expected.users, where
        for split in ("train", "valid", "test"):
            assert rows(dataset, split) == expected.splits[split], where
        assert in_catalog_order(dataset, catalog) == texts, where


SLOW = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


# without shrinking, which may take minutes
@settings(max_examples=25, derandomize=True, phases=[Phase.generate], **SLOW)
@given(tables())
def test_one_table_in_any_form_is_one_dataset(tmp_path_factory, example):
    check_one_table(tmp_path_factory.mktemp("one"), example, 5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=150, **SLOW)
@given(tables())
def test_one_table_in_every_form_is_one_dataset(tmp_path_factory, example):
    check_one_table(tmp_path_factory.mktemp("every"), example, 40)


@pytest.mark.parametrize("kind", [*FORMATS, *OBJECTS])
def test_a_plain_table_in_each_form_is_one_dataset(tmp_path, kind):
    """Each form for sure, with what any of them can hold."""
    log = [
        {"user_id": f"u{i % 4}", "item_id": i * i % 5 + 1, "weight": i % 3 / 2, "time": 1000 - i}
        for i in range(17)
    ]
    catalog = [
        {"item_id": i, "title": f"title {i}", "text": f"some {i}", "year": 1990 + i} for i in range(1, 6)
    ]
    wanted = Wanted(weight=True, time=True, split="leave_last_out")
    made = []
    for name, table in (("log", log), ("items", catalog)):
        if kind in FORMATS:
            made.append(str(write_table(tmp_path / name, kind, list(table[0]), table)))
        else:
            made.append(OBJECTS[kind](list(table[0]), table))
    dataset = read(tmp_path / "w", *made, **options_of(wanted))
    expected = expected_dataset(log, [1, 2, 3, 4, 5], wanted)
    assert dataset.user_ids().tolist() == expected.users
    for split in ("train", "valid", "test"):
        assert rows(dataset, split) == expected.splits[split]
    assert dataset.texts() == [f"some {i} {1990 + i}" for i in range(1, 6)]
    assert expected.zeros in dataset.stats.dropped.values()
