"""Files of text whose columns are known by convention: those of MovieLens, and the headers of RecBole."""

import re
from collections.abc import Sequence

_RATINGS = ("user_id", "item_id", "rating", "timestamp")
_GENRES = [
    "unknown",
    "action",
    "adventure",
    "animation",
    "children",
    "comedy",
    "crime",
    "documentary",
    "drama",
    "fantasy",
    "film_noir",
    "horror",
    "musical",
    "mystery",
    "romance",
    "sci_fi",
    "thriller",
    "war",
    "western",
]
# The name of each file of MovieLens without a header, its columns, and which of them are numbers.
_MOVIELENS = {
    "ratings.dat": (_RATINGS, (0, 1, 2, 3)),
    "movies.dat": (("item_id", "title", "genres"), (0,)),
    "users.dat": (("user_id", "gender", "age", "occupation", "zip_code"), (0, 2, 3)),
    "tags.dat": (("user_id", "item_id", "tag", "timestamp"), (0, 1, 3)),
    "u.data": (_RATINGS, (0, 1, 2, 3)),
    "u.item": (
        ("item_id", "title", "release_date", "video_release_date", "url", *_GENRES),
        (0, *range(5, 24)),
    ),
    "u.user": (("user_id", "age", "gender", "occupation", "zip_code"), (0, 1)),
}
_SPLITS = re.compile(r"u(a|b|[1-5])\.(base|test)")
_NUMBER = re.compile(r"\s*\d+(\.\d*)?\s*")
_TYPES = (":token", ":token_seq", ":float", ":float_seq")
_RECBOLE = (".inter", ".item", ".user")


def names(name: str, rows: Sequence[Sequence[str]]) -> tuple[str, ...] | None:
    """Return the names of the columns of a file of MovieLens.

    Parameters
    ----------
    name
        Name of the file, such as ``ratings.dat``.
    rows
        Its first rows; a row without the shape of that file says that it is another.

    Returns
    -------
    tuple of str | None
        None for any other file.
    """
    found = _MOVIELENS.get("u.data" if _SPLITS.fullmatch(name.lower()) else name.lower())
    if found is None:
        return None
    columns, numbers = found
    fit = all(
        len(row) == len(columns) and all(_NUMBER.fullmatch(row[i]) for i in numbers) for row in rows[:10]
    )
    return columns if fit else None


def without_types(header: Sequence[str], suffix: str) -> tuple[str, ...]:
    """Return the names of a header without the types of RecBole, ``user_id:token``.

    Parameters
    ----------
    header
        The fields of the header.
    suffix
        Ending of the file's name.

    >>> without_types(["user_id:token", "rating:float"], ".inter")
    ('user_id', 'rating')
    """
    typed = all(name.endswith(_TYPES) for name in header)
    if not (suffix in _RECBOLE and typed):
        return tuple(header)
    return tuple(name.rpartition(":")[0] for name in header)
