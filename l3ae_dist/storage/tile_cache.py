"""Policy of the tiles that a worker keeps, without the tiles, shared by the reader and by the simulator.

Tiles come in two classes: those of the *panel* that the next tasks all read, and those that later tasks of
the stage read again. Access is cyclic, so a full cache takes in no tile of the second class: evicting one
for another would turn cyclic access into no hits at all. A panel displaces tiles of other stages, then older
panels, then the second class. Tiles of the panel :data:`MADE` stay until a later stage: other workers ask
the one that made them. Pinned tiles are nowhere else: nothing displaces them.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")
MADE = "made"
"""Panel of the tiles that this worker made and others read."""
# Stage, and panel or None: what tiles of one class have in common.
Group = tuple[str, object]
# The class of pinned tiles, which are of no stage.
_PINNED: Group = ("pinned", None)


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
        self.pinned = 0
        self._group: dict[Hashable, Group] = {}
        # for each stage the panels, and of each the keys in the order they came, with value and size
        self._members: dict[str, dict[object, dict[Hashable, tuple[V, int]]]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._group

    def __len__(self) -> int:
        return len(self._group)

    def get(self, key: Hashable, stage: str | None, panel: object) -> V | None:
        """Return a tile, or None when it is not kept.

        Parameters
        ----------
        key
            Of the tile.
        stage, panel
            Who wants it from now on; as before where they are None.
        """
        group = self._group.get(key)
        if group is None:
            return None
        value, size = self._members[group[0]][group[1]][key]
        wanted = group if group == _PINNED else (stage or group[0], panel or group[1])
        if wanted != group:
            self._take_out(key)
            self._put_in(key, wanted, value, size)
        return value

    def put(self, key: Hashable, value: V, size: int, stage: str, panel: object) -> tuple[bool, list[V]]:
        """Keep a tile if there is room for it, or can be made.

        Parameters
        ----------
        key, value
            The tile.
        size
            Its bytes.
        stage, panel
            Who wants it.

        Returns
        -------
        True when it is kept, and the tiles that had to go.
        """
        gone: list[V] = []
        if self._group.get(key) == _PINNED:
            return False, gone
        if self.used + size > self.limit:
            gone = self._make_room(size, stage, panel)
            if self.used + size > self.limit:
                return False, gone
        if key in self._group:
            gone.append(self._take_out(key))
        self._put_in(key, (stage, panel), value, size)
        return True, gone

    def pin(self, key: Hashable, value: V, size: int) -> tuple[bool, list[V]]:
        """Keep a tile until it is unpinned, if there is room for it beside the tiles that are pinned.

        Parameters
        ----------
        key, value, size
            As for :meth:`put`.

        Returns
        -------
        True when it is kept, and the tiles that had to go.
        """
        gone = [self._take_out(key)] if key in self._group else []
        gone += self._make_room(size, *_PINNED)
        if self.used + size > self.limit:
            return False, gone
        self._put_in(key, _PINNED, value, size)
        return True, gone

    def unpin(self, wanted: Callable[[Hashable], bool]) -> list[V]:
        """Give up the pinned tiles whose keys are not wanted, and return them."""
        pinned = self._members.get(_PINNED[0], {}).get(_PINNED[1], {})
        return [self._take_out(key) for key in list(pinned) if not wanted(key)]

    def resize(self, limit: int) -> list[V]:
        """Set the limit and return the tiles that had to go: all of them, when they were over the new one."""
        self.limit = limit
        return [self._take_out(key) for key in list(self._group)] if self.used > limit else []

    def _make_room(self, size: int, stage: str, panel: object) -> list[V]:
        gone: list[V] = []
        for group in self._displaced_by(stage, panel):
            for key in list(self._members[group[0]][group[1]]):
                if self.used + size <= self.limit:
                    return gone
                gone.append(self._take_out(key))
        return gone

    def _displaced_by(self, stage: str, panel: object) -> list[Group]:
        """Groups that a newcomer may displace, the least useful first."""
        others = {
            other: panels for other, panels in self._members.items() if other not in (stage, _PINNED[0])
        }
        groups = [(other, old) for other, panels in others.items() for old in panels]
        if panel is not None and stage in self._members:
            panels = self._members[stage]
            groups += [(stage, old) for old in panels if old is not None and old != panel and old != MADE]
            groups += [(stage, None)] if None in panels else []
        return groups

    def _put_in(self, key: Hashable, group: Group, value: V, size: int) -> None:
        self._group[key] = group
        self._members.setdefault(group[0], {}).setdefault(group[1], {})[key] = (value, size)
        self.used += size
        self.pinned += size * (group == _PINNED)

    def _take_out(self, key: Hashable) -> V:
        stage, panel = self._group.pop(key)
        panels = self._members[stage]
        value, size = panels[panel].pop(key)
        if not panels[panel]:
            del panels[panel]
        if not panels:
            del self._members[stage]
        self.used -= size
        self.pinned -= size * ((stage, panel) == _PINNED)
        return value
