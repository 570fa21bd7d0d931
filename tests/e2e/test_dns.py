"""DNS: a real server and real clients under the real agent."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dns.flags
import dns.message
import dns.rdatatype
import pytest

from tests.dns_server import DnsServer
from tests.e2e.agent import ROOT, Agent, Span
from tests.e2e.program import Program
from tests.e2e.query import parent_of, seconds_of, select
from tests.gobuild import build_go

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


class Resolving:
    """A program whose resolver asks ``server``, on port 53 of a loopback of their own.

    Attributes:
        pid: of the program; line: what it said first.
    """

    def __init__(self, folder: Path, command: Sequence[object]) -> None:
        conf = folder / "resolv.conf"
        conf.write_text("nameserver 127.0.0.1\n")
        shell = f'ip link set lo up && mount --bind {conf} /etc/resolv.conf && exec "$@"'
        words = ["unshare", "--net", "--mount", "sh", "-c", shell, "sh", *map(str, command)]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self.process.pid
        try:
            self.line = self._read()
            self.server = DnsServer(folder, 53, through=self.inside())
        except BaseException:
            self.process.kill()
            self.process.communicate()
            raise

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> str:
        """Lets it do its work; what it says then."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()

    def inside(self) -> list[str]:
        """A command before another one: in these namespaces."""
        return ["nsenter", "--target", str(self.pid), "--net"]

    def ask(self, number: int, at_once: int, query: str = "") -> None:
        """Requests of as many paths, ``/<n>.a.test``."""
        code = f"""
from concurrent.futures import ThreadPoolExecutor
from urllib.request import urlopen
def ask(n): urlopen(f"http://127.0.0.1:{self.line}/{{n}}.a.test{query}", timeout=20).close()
with ThreadPoolExecutor({at_once}) as pool: list(pool.map(ask, range({number})))
"""
        subprocess.run([*self.inside(), sys.executable, "-c", code], check=True)

    def __enter__(self) -> Resolving:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()
        self.process.kill()
        self.process.communicate()


def on_the_wire(file: Path) -> Counter[tuple[str, str]]:
    """Queries of a capture of Ethernet frames, as tcpdump writes it."""
    data, at = file.read_bytes(), 24
    found: Counter[tuple[str, str]] = Counter()
    while at + 16 <= len(data):
        size = int.from_bytes(data[at + 8 : at + 12], "little")
        if at + 16 + size > len(data):
            break
        message = dns.message.from_wire(data[at + 16 + 42 : at + 16 + size])
        at += 16 + size
        if not message.flags & dns.flags.QR:
            (question,) = message.question
            kind = dns.rdatatype.to_text(question.rdtype)
            found[question.name.to_text(omit_final_dot=True), kind] += 1
    return found


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs tcpdump")
def test_glibcs_two_queries_with_one_call(tmp_path: Path) -> None:
    """Counts against the server's log, and against what tcpdump saw."""
    file = tmp_path / "lo.pcap"
    with Resolving(tmp_path, [sys.executable, PROGRAMS, "getaddrinfo", 53]) as place:
        watch = [
            "tcpdump",
            "--immediate-mode",
            # Its ring has room for as many packets of this length: for a few only of 256 KiB,
            # and those that come while it does not run are then dropped.
            "--snapshot-length=1024",
            "-i",
            "lo",
            "-U",
            "-w",
            str(file),
            "udp",
            "port",
            "53",
        ]
        witness = subprocess.Popen([*place.inside(), *watch], stderr=subprocess.PIPE, text=True)
        assert witness.stderr is not None
        while "listening on" not in witness.stderr.readline():
            assert witness.poll() is None
        with Agent(pids=[place.pid, place.server.pid]) as agent:
            assert place.go() == "done"
            spans = agent.stop()
        told = place.server.asked()
        deadline = time.monotonic() + 30  # it looks at what passed when its turn comes
        while on_the_wire(file).total() < told.total() and time.monotonic() < deadline:
            time.sleep(0.05)
        witness.terminate()
        _, summary = witness.communicate()
    assert "\n0 packets dropped by kernel" in summary
    assert told.total() == 42
    assert on_the_wire(file) == told
    assert asked(spans, "CLIENT") == told
    assert asked(spans, "SERVER") == told
    assert_joined(spans)
    failed = [s for s in lookups(spans, "CLIENT") if "error.type" in s["attributes"]]
    assert {s["attributes"]["error.type"] for s in failed} == {"NXDOMAIN"}
    assert {s["attributes"]["dns.question.name"] for s in failed} == {"www.nx.test"}


def test_lookups_of_glibc_and_of_go_are_their_requests_children(tmp_path: Path) -> None:
    go = build_go(ROOT / "tests" / "targets" / "go" / "resolver")
    for rule, command in (
        ("thread", [sys.executable, PROGRAMS, "serve", 53]),
        ("ancestor", [go]),
    ):
        folder = tmp_path / rule
        folder.mkdir()
        with Resolving(folder, command) as place:
            with Agent(pids=[place.pid, place.server.pid]) as agent:
                place.ask(60, 8)
                # Go's are believed once their goroutines were not seen again for a second.
                agent.wait_spans(lambda spans: len(lookups(spans, "CLIENT")) == 120, seconds=30)
                spans = agent.stop()
            assert asked(spans, "CLIENT") == asked(spans, "SERVER") == place.server.asked()
        assert_joined(spans)
        assert len(lookups(spans, "CLIENT")) == 120
        for call in lookups(spans, "CLIENT"):
            parent = parent_of(call, spans)
            assert parent is not None, (rule, call)
            assert call["attributes"]["otel_ebpf.parent.rule"] == rule
            assert parent["attributes"]["url.path"] == "/" + call["attributes"]["dns.question.name"]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
@pytest.mark.parametrize("query", ["", "?lookup"])
def test_nodes_lookups_have_no_wrong_parent(tmp_path: Path, query: str) -> None:
    """c-ares hands its results on in a phase of the loop that says nothing of their cause; and
    getaddrinfo runs on a pool of threads."""
    node = ["node", Path(__file__).with_name("dns_node.js")]
    with Resolving(tmp_path, node) as place:
        with Agent(pids=[place.pid, place.server.pid]) as agent:
            place.ask(20, 1, query)
            place.ask(100, 8, query)
            spans = agent.stop()
        assert asked(spans, "CLIENT") == asked(spans, "SERVER") == place.server.asked()
    assert_joined(spans)
    for call in lookups(spans, "CLIENT"):
        parent = parent_of(call, spans)
        if parent is not None:
            assert parent["attributes"]["url.path"] == "/" + call["attributes"]["dns.question.name"]
