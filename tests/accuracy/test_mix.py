"""Every protocol at once, for some seconds: no call has another's reply, and none is missing."""

from __future__ import annotations

import pytest

from tests.accuracy.mix_hosts import SERVERS
from tests.accuracy.mixing import run


@pytest.mark.kernel
@pytest.mark.e2e
def test_each_call_ends_as_it_was_meant_to_in_the_mix() -> None:
    said, ledger = run(list(SERVERS), 8, 100)
    assert not ledger["records_lost"] + ledger["spans_dropped"]
    for name, verdict in said.items():
        assert verdict.made["ok"] > 100 and verdict.made["bad"] > 50, (name, verdict)
        assert verdict.right, (name, verdict)
