"""DNS of BIND: named, which reads many datagrams at once, and dig, under the real agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bind9 import Bind
from tests.dns_server import DnsServer
from tests.e2e.agent import Agent
from tests.e2e.query import parent_of
from tests.e2e.test_dns import asked, lookups

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]


def test_digs_questions_and_what_named_asks_for_them(tmp_path: Path) -> None:
    with DnsServer(tmp_path) as upstream, Bind(tmp_path, upstream.port) as bind:
        ports = (bind.port, upstream.port)
        with Agent(*(word for port in ports for word in ("--port", str(port)))) as agent:
            assert bind.dig("www.b.test", "A") == "10.3.2.1\n"
            assert bind.dig("www.b.test", "AAAA", server="::1") == "fd00::3\n"
            assert bind.dig("www.b.test", "AAAA", "+tcp") == "fd00::3\n"
            assert bind.dig("none.b.test", "A") == ""
            for number in range(5):
                assert bind.dig(f"{number}.a.test", "A") == "10.1.2.3\n"
            assert bind.dig("big.test", "TXT", "+bufsize=512").count("\n") == 6
            spans = agent.stop()
        told = bind.asked()
        passed_on = upstream.asked()
    assert told["big.test", "TXT"] == 2  # the answer was cut off: again, over TCP
    assert told.total() == 11
    served = [s for s in lookups(spans, "SERVER") if s["resource"]["process.pid"] == bind.pid]
    assert asked(served, "SERVER") == told
    by_dig = [s for s in lookups(spans, "CLIENT") if s["resource"]["process.pid"] != bind.pid]
    assert asked(by_dig, "CLIENT") == told
    assert {s["attributes"]["server.address"] for s in by_dig} == {"127.0.0.1", "::1"}
    for span in served:
        parent = parent_of(span, spans)
        assert parent in by_dig
        assert parent["attributes"]["dns.question.name"] == span["attributes"]["dns.question.name"]
    failed = [s["attributes"] for s in by_dig if "error.type" in s["attributes"]]
    assert [(a["dns.question.name"], a["error.type"]) for a in failed] == [
        ("none.b.test", "NXDOMAIN")
    ]
    # What it asks itself is the child of the question that it was asked, over TCP nobody's.
    forwarded = [s for s in lookups(spans, "CLIENT") if s["resource"]["process.pid"] == bind.pid]
    assert asked(forwarded, "CLIENT") == passed_on
    for span in forwarded:
        parent, name = parent_of(span, spans), span["attributes"]["dns.question.name"]
        if parent is None:
            assert name == "big.test"
            continue
        assert parent in served
        assert parent["attributes"]["dns.question.name"] == name
