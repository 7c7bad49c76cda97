"""Policy of the tiles that a worker keeps, without the tiles, shared by the reader and by the simulator.

Tiles come in two classes: those of the *panel* that the next tasks all read, and those that later tasks of
the stage read again. Access is cyclic, so a full cache takes in no tile of the second class: evicting one
for another would turn cyclic access into no hits at all. A panel displaces tiles of other stages, then older
panels, then the second class. Tiles of the panel :data:`MADE`, for which other workers ask the one that made
them, stay in their stage, and in half of the cache in the next one, which reads them too. Pinned tiles are
nowhere else: nothing displaces them.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")
MADE = "made"
"""Panel of the tiles that this worker made and others read."""
# By a stage, the one before it, whose tiles it reads too: other workers still ask for them.
_READS_OF = {"Linv": "L", "P": "Linv"}
# Share of the limit that tiles which were made in the stage before keep.
_SPARED = 0.5
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
        self._bytes: dict[Group, int] = {}
        self._group: dict[Hashable, Group] = {}
        # for each stage the panels, and of each the keys in the order they came, with value and size
        self._members: dict[str, dict[object, dict[Hashable, tuple[V, int]]]] = {}

    @property
    def pinned(self) -> int:
        """Bytes of the pinned tiles."""
        return self._bytes.get(_PINNED, 0)

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

    def drop(self, key: Hashable) -> None:
        """Forget a tile, if it is kept."""
        if key in self._group:
            self._take_out(key)

    def resize(self, limit: int) -> list[V]:
        """Set the limit and return the tiles that had to go: all of them, when they were over the new one."""
        self.limit = limit
        return [self._take_out(key) for key in list(self._group)] if self.used > limit else []

    def _make_room(self, size: int, stage: str, panel: object) -> list[V]:
        gone: list[V] = []
        for group, spared in self._displaced_by(stage, panel):
            while self.used + size > self.limit and self._bytes.get(group, 0) > spared:
                gone.append(self._take_out(next(iter(self._members[group[0]][group[1]]))))
        return gone

    def _displaced_by(self, stage: str, panel: object) -> list[tuple[Group, float]]:
        """Groups that a newcomer may displace, the least useful first, and the bytes of each that stay."""
        others = [other for other in self._members if other not in (stage, _PINNED[0])]
        groups: list[Group] = [(other, old) for other in others for old in self._members[other]]
        if panel is not None and stage in self._members:
            panels = self._members[stage]
            groups += [(stage, old) for old in panels if old is not None and old != panel and old != MADE]
            groups += [(stage, None)] if None in panels else []
        asked_for = (_READS_OF.get(stage), MADE)
        return [(group, _SPARED * self.limit if group == asked_for else 0) for group in groups]

    def _put_in(self, key: Hashable, group: Group, value: V, size: int) -> None:
        self._group[key] = group
        self._members.setdefault(group[0], {}).setdefault(group[1], {})[key] = (value, size)
        self._bytes[group] = self._bytes.get(group, 0) + size
        self.used += size

    def _take_out(self, key: Hashable) -> V:
        stage, panel = self._group.pop(key)
        panels = self._members[stage]
        value, size = panels[panel].pop(key)
        self._bytes[stage, panel] -= size
        self.used -= size
        if not panels[panel]:
            del panels[panel], self._bytes[stage, panel]
        if not panels:
            del self._members[stage]
        return value
