"""DNS: a real server and real clients under the real agent."""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.dns_server import DnsServer
from tests.e2e.agent import Agent, Span
from tests.e2e.program import Program
from tests.e2e.query import parent_of, seconds_of, select

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]
PROGRAMS = Path(__file__).with_name("dns_programs.py")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DnsServer]:
    with DnsServer(tmp_path) as running:
        yield running


def lookups(spans: list[Span], kind: str) -> list[Span]:
    return [s for s in select(spans, kind) if "dns.question.name" in s["attributes"]]


def asked(spans: list[Span], kind: str) -> Counter[tuple[str, str]]:
    """(name, type) -> spans of a kind."""
    return Counter(
        (s["attributes"]["dns.question.name"], s["attributes"]["dns.question.type"])
        for s in lookups(spans, kind)
    )


def assert_joined(spans: list[Span]) -> None:
    """Each server's view is the child of the client's own, and no other's."""
    clients = {s["span_id"]: s for s in lookups(spans, "CLIENT")}
    for served in lookups(spans, "SERVER"):
        client = clients.pop(served["parent_span_id"])
        assert served["attributes"]["otel_ebpf.parent.rule"] == "same_host"
        for name in ("dns.question.name", "dns.question.type", "dns.response_code"):
            assert served["attributes"].get(name) == client["attributes"].get(name)
        assert client["start_time_unix_nano"] <= served["start_time_unix_nano"]
    assert not clients


def test_every_lookup_is_a_span_on_either_side(server: DnsServer) -> None:
    with Program(PROGRAMS, "lookups", server.port) as program:
        program.line()
        with Agent(pids=[program.pid, server.pid]) as agent:
            program.go()
            assert program.line() == "done"
            spans = agent.stop()
    told = server.asked()
    assert told.total() == 14
    assert asked(spans, "CLIENT") == asked(spans, "SERVER") == told
    assert_joined(spans)
    assert {s["name"] for s in lookups(spans, "CLIENT")} == {
        f"{kind} lookup" for kind in ("A", "AAAA", "MX", "TXT")
    }
    ends = {
        (s["name"], s["attributes"]["dns.response_code"], s["attributes"].get("error.type"))
        for s in lookups(spans, "CLIENT")
    }
    assert ends == {
        ("A lookup", "NOERROR", None),
        ("AAAA lookup", "NOERROR", None),
        ("A lookup", "NXDOMAIN", "NXDOMAIN"),
        ("MX lookup", "REFUSED", "REFUSED"),
        ("TXT lookup", "NOERROR", None),
    }
    cut, whole = (s["attributes"] for s in lookups(spans, "CLIENT") if s["name"] == "TXT lookup")
    assert (cut["network.transport"], cut["otel_ebpf.dns.truncated"]) == ("udp", True)
    assert whole["network.transport"] == "tcp"
    assert "otel_ebpf.dns.truncated" not in whole
    for span in lookups(spans, "CLIENT"):
        attributes = span["attributes"]
        assert (attributes["server.address"], attributes["server.port"]) == (
            "127.0.0.1",
            server.port,
        )
        if attributes["dns.question.name"] == "www.a.test":
            known = {"A": ["10.1.2.3"], "AAAA": ["fd00::1"]}
            assert attributes["dns.answers"] == known[attributes["dns.question.type"]]


def test_a_forwarder_asks_for_whom_it_is_asked(server: DnsServer, tmp_path: Path) -> None:
    with (
        DnsServer(tmp_path, upstream=server.port) as front,
        Program(PROGRAMS, "lookups", front.port) as program,
    ):
        program.line()
        with Agent(pids=[program.pid, front.pid, server.pid]) as agent:
            program.go()
            assert program.line() == "done"
            spans = agent.stop()
    assert asked(spans, "SERVER") == front.asked() + server.asked()
    # Over TCP dnsmasq sends its query before there is a connection (TCP_FASTOPEN).
    forwarded, taken = (
        [
            span
            for span in lookups(spans, kind)
            if (span["attributes"]["server.port"], span["attributes"]["network.transport"])
            == (server.port, "udp")
        ]
        for kind in ("CLIENT", "SERVER")
    )
    assert asked(forwarded, "CLIENT") == asked(taken, "SERVER")
    assert len(forwarded) >= 10
    for span in forwarded:
        parent = parent_of(span, spans)
        assert parent is not None
        assert span["attributes"]["otel_ebpf.parent.rule"] == "same_question"
        for name in ("dns.question.name", "dns.question.type"):
            assert parent["attributes"][name] == span["attributes"][name]


def test_who_is_not_answered(server: DnsServer) -> None:
    with Program(PROGRAMS, "unanswered", server.port) as program:
        program.line()
        with Agent(pids=[program.pid, server.pid]) as agent:
            program.go()
            assert program.line() == "done"
            spans = agent.stop()
    silent, gone = lookups(spans, "CLIENT")
    assert silent["attributes"]["error.type"] == "timeout"
    assert 0.9 < seconds_of(silent) < 3
    assert gone["attributes"]["error.type"] == "connection_refused"


def test_what_else_goes_over_udp_is_left_alone(server: DnsServer) -> None:
    with Program(PROGRAMS, "others", server.port) as program:
        program.line()
        with Agent(pids=[program.pid, server.pid]) as agent:
            program.go()
            assert program.line() == "done"
            spans = agent.stop()
    assert [s["attributes"]["dns.question.name"] for s in spans] == ["www.a.test"] * 2


def test_lookups_of_a_thread_that_serves_are_its_requests_children(server: DnsServer) -> None:
    with Program(PROGRAMS, "serve", server.port) as program:
        port = int(program.line())
        with Agent(pids=[program.pid, server.pid]) as agent:
            _ask_all(port, 100)
            spans = agent.stop()
    _assert_each_has_its_own(spans, 100)


def _ask_all(port: int, number: int) -> None:
    def ask(n: int) -> None:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/{n}.a.test", timeout=20).close()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(number)))


def _assert_each_has_its_own(spans: list[Span], number: int) -> None:
    inbound = [s for s in spans if s["kind"] == "SERVER" and "url.path" in s["attributes"]]
    assert len(inbound) == number
    calls = lookups(spans, "CLIENT")
    assert len(calls) == number
    for call in calls:
        parent = parent_of(call, spans)
        assert parent is not None
        assert parent["attributes"]["url.path"] == "/" + call["attributes"]["dns.question.name"]


# In namespaces with an /etc/resolv.conf of their own


@pytest.fixture
def resolv(tmp_path: Path) -> list[str]:
    """A command before another one: its own loopback, and this server as the resolver's."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.0.1\n")
    shell = f'ip link set lo up && mount --bind {conf} /etc/resolv.conf && exec "$@"'
    return ["unshare", "--net", "--mount", "sh", "-c", shell, "sh"]
