"""A sentence on the few words, such as those of a footer, that make text of a column of integers."""

import pyarrow as pa
import pyarrow.compute as pc

from l3ae_dist.data.intake.ids import CANONICAL
from l3ae_dist.messages import shown

_MOST_ODD, _FEWEST_INTEGERS = 3, 20


def odd_ids(ids: pa.Array, what: str) -> tuple[str, ...]:
    """Return a sentence on distinct ids that are text while all others are integers; none where many are.

    Parameters
    ----------
    ids
        The ids of a whole column.
    what
        What the sentence calls the column.
    """
    if pa.types.is_integer(ids.type) or len(ids) <= _FEWEST_INTEGERS:
        return ()
    odd = ids.filter(pc.invert(pc.match_substring_regex(ids, CANONICAL)))
    integers = len(ids) - len(odd)
    if not len(odd) or len(odd) > max(_MOST_ODD, integers // 1000) or integers < _FEWEST_INTEGERS:
        return ()
    examples = ", ".join(shown(one) for one in odd[:_MOST_ODD].to_pylist())
    return (
        f"the {what}s are text because of {examples}; the {integers:,} other ids are integers: "
        "delete those rows where they are no data.",
    )
