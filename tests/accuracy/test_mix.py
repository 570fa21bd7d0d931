"""Every protocol at once, for some seconds: no call has another's reply, and none is missing."""

from __future__ import annotations

import pytest

from tests.accuracy.mix_hosts import SERVERS
from tests.accuracy.mixing import DELIVERED, run


@pytest.mark.kernel
@pytest.mark.e2e
def test_each_call_has_its_own_reply_in_the_mix() -> None:
    said, ledger = run(list(SERVERS), 8, 60)
    assert not ledger["records_lost"] + ledger["spans_dropped"]
    for name, verdict in said.items():
        assert len(verdict.made) > verdict.failing() > 0, name
        assert not verdict.missing(), (name, verdict.missing()[:5], ledger)
        assert not verdict.wrong, (name, verdict.wrong[:5])
        assert not verdict.lost | verdict.untold, (name, verdict.lost, verdict.untold)
        assert not verdict.others, (name, verdict.others)
    for name in ("redis", "postgresql", "mysql", "dns", "kafka", "http", "fastcgi", "uwsgi"):
        assert said[name].marked, name
    assert said["nats"].spans(DELIVERED)
