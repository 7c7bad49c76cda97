"""The choice between a peer and the workspace, from the times that reads took."""

import pytest

from l3ae_dist.storage.tier_pace import TierPace


@pytest.mark.parametrize(("peers", "workspace", "share"), [(1.0, 3.0, 0.97), (3.0, 1.0, 0.03)])
def test_the_quicker_is_read_and_the_other_tried_now_and_then(peers, workspace, share):
    pace = TierPace()
    assert pace.prefers_peers()
    pace.peers_took(peers, 1)
    assert pace.prefers_peers()
    pace.workspace_took(workspace, 1)
    found = [pace.prefers_peers() for _ in range(320)]
    assert sum(found) / 320 == pytest.approx(share, abs=0.005)


def test_a_place_that_becomes_slower_is_left():
    pace = TierPace()
    pace.peers_took(1.0, 1)
    pace.workspace_took(2.0, 1)
    assert pace.prefers_peers()
    for _ in range(8):
        pace.peers_took(5.0, 1)
    assert not pace.prefers_peers()
