"""The choice between the places of a tile: another worker's memory, a copy on a local disk, the workspace.

Workers decide by it, simulated workers too, and plans by the rates that they are given.
"""

TRIED_AGAIN = 32
"""One read in so many is from the place that was slower of late: it may have become quicker."""
# Weight of the latest read in the average.
_LATEST = 0.25


def peers_first(peers: float, workspace: float) -> bool:
    """Tell whether tiles that a peer holds are read from there, by the seconds a byte of both places."""
    return peers <= workspace


def share_from_peers(peers: float, workspace: float) -> float:
    """Return the share of the tiles held by peers that is read from there, by the seconds a byte of both."""
    tried = 1 / TRIED_AGAIN
    return 1 - tried if peers_first(peers, workspace) else tried


class TierPace:
    """Seconds a byte that reads of one process took of late, from its peers, local copies and the workspace.

    A disk of the machine is often quicker than another process, and a store that many workers share is
    slower; which it is shows while they are read. Results do not depend on it.
    """

    def __init__(self) -> None:
        self._peers: float | None = None
        self._workspace: float | None = None
        self._copies: float | None = None
        self._asked = self._asked_copies = 0

    def prefers_peers(self) -> bool:
        """Tell where the next tile is read that a peer holds; a peer until both have been timed."""
        if self._peers is None or self._workspace is None:
            return True
        self._asked += 1
        return peers_first(self._peers, self._workspace) != (self._asked % TRIED_AGAIN == 0)

    def prefers_copies(self) -> bool:
        """Tell whether a tile is read from its copy on a local disk, or from the workspace."""
        if self._copies is None or self._workspace is None:
            return True
        self._asked_copies += 1
        return self.copies_are_quicker() != (self._asked_copies % TRIED_AGAIN == 0)

    def copies_are_quicker(self) -> bool:
        """Tell whether copies were quicker of late than the workspace; true until both have been timed."""
        if self._copies is None or self._workspace is None:
            return True
        return peers_first(self._copies, self._workspace)

    def copies_took(self, seconds: float, nbytes: int) -> None:
        """Note how long a read from a local copy took."""
        self._copies = _average(self._copies, seconds / nbytes)

    def peers_took(self, seconds: float, nbytes: int) -> None:
        """Note how long a read from a peer took."""
        self._peers = _average(self._peers, seconds / nbytes)

    def workspace_took(self, seconds: float, nbytes: int) -> None:
        """Note how long a read from the workspace took."""
        self._workspace = _average(self._workspace, seconds / nbytes)


def _average(before: float | None, latest: float) -> float:
    return latest if before is None else before + _LATEST * (latest - before)
