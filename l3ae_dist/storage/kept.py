"""The sentence about what is kept of a run that ends before it is complete."""

from collections.abc import Collection


class Kept:
    """The part of a run that the next one finds: all that is finished but tiles that are in memory alone.

    Attributes
    ----------
    in_memory
        Names of the arrays that have such tiles now.
    """

    def __init__(self) -> None:
        self.in_memory: Collection[str] = ()

    def __str__(self) -> str:
        return kept_words(self.in_memory)


def kept_words(in_memory: Collection[str] = ()) -> str:
    """Say what a run that ends now leaves to the next one, as a part of a sentence.

    >>> kept_words()
    'what was finished is kept'
    >>> kept_words({"Linv", "L"})
    'what was finished is kept but for tiles of L and Linv in memory alone, which are made again'
    """
    names = " and ".join(sorted(in_memory))
    lost = f" but for tiles of {names} in memory alone, which are made again" if names else ""
    return f"what was finished is kept{lost}"
