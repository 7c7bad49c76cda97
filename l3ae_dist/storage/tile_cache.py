"""Which tiles a worker keeps: the policy alone, shared by the reader and by the simulator.

Tiles come in two classes: those of the *panel* that the next tasks all read, and those that later tasks of
the stage read again. Access is cyclic, so a full cache takes in no tile of the second class: evicting one
for another would turn cyclic access into no hits at all. A panel displaces tiles of other stages, then older
panels, then the second class.
"""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

V = TypeVar("V")
# Stage, and panel or None: what tiles of one class have in common.
Group = tuple[str, object]


class TileCache(Generic[V]):
    """At most ``limit`` bytes of tiles by key; not safe for several threads at once.

    Parameters
    ----------
    limit
        Bytes.
    """

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self.used = 0
        self._group: dict[Hashable, Group] = {}
        # the keys of each group in the order they came, with value and size
        self._members: dict[Group, dict[Hashable, tuple[V, int]]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._group

    def __len__(self) -> int:
        return len(self._group)

    def get(self, key: Hashable, stage: str | None, panel: object) -> V | None:
        """The tile, now wanted by ``stage`` and ``panel`` where they are given; None when it is not kept."""
        group = self._group.get(key)
        if group is None:
            return None
        value, size = self._members[group][key]
        wanted = (stage or group[0], panel or group[1])
        if wanted != group:
            self._take_out(key)
            self._put_in(key, wanted, value, size)
        return value

    def put(self, key: Hashable, value: V, size: int, stage: str, panel: object) -> tuple[bool, list[V]]:
        """Keep a tile if there is room for it; whether it is kept, and what had to go."""
        gone = []
        for group in self._displaced_by(stage, panel):
            while self.used + size > self.limit and group in self._members:
                gone.append(self._take_out(next(iter(self._members[group]))))
        if self.used + size > self.limit:
            return False, gone
        if key in self._group:
            gone.append(self._take_out(key))
        self._put_in(key, (stage, panel), value, size)
        return True, gone

    def resize(self, limit: int) -> list[V]:
        """Set the limit; what had to go: everything, when it was over the new one."""
        self.limit = limit
        return [self._take_out(key) for key in list(self._group)] if self.used > limit else []

    def _displaced_by(self, stage: str, panel: object) -> Iterator[Group]:
        """Groups that a newcomer may displace, the least useful first."""
        groups = list(self._members)
        yield from (group for group in groups if group[0] != stage)
        if panel is not None:
            yield from (group for group in groups if group[0] == stage and group[1] not in (None, panel))
            yield from (group for group in groups if group == (stage, None))

    def _put_in(self, key: Hashable, group: Group, value: V, size: int) -> None:
        self._group[key] = group
        self._members.setdefault(group, {})[key] = (value, size)
        self.used += size

    def _take_out(self, key: Hashable) -> V:
        group = self._group.pop(key)
        members = self._members[group]
        value, size = members.pop(key)
        if not members:
            del self._members[group]
        self.used -= size
        return value
