"""The Go relay over HTTP/1, HTTP/2 and gRPC: its load, and how right its spans' parents are."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.agent import TRUTH_ENV, TRUTH_HEADERS
from tests.e2e.query import Span
from tests.e2e.services import TESTS, Service
from tests.gobuild import build_go

RELAY = TESTS / "targets" / "go" / "relay"
NEWEST = {"google.golang.org/grpc": "v1.85.0", "golang.org/x/net": "v0.60.0"}
ENV = {
    **TRUTH_ENV,
    "OTEL_INSTRUMENTATION_GRPC_CAPTURE_METADATA_SERVER_REQUEST": TRUTH_HEADERS,
    "OTEL_INSTRUMENTATION_GRPC_CAPTURE_METADATA_CLIENT_REQUEST": TRUTH_HEADERS,
}
_CAPTURED = ("http.request.header.", "rpc.request.metadata.")


def build(
    toolchain: str = "local", requires: Mapping[str, str] = NEWEST, flags: tuple[str, ...] = ()
) -> Path:
    """The relay's program."""
    return build_go(RELAY, toolchain=toolchain, requires=requires, flags=flags)


def pair(program: Path) -> tuple[Service, Service]:
    """The relay, and the one that it calls."""
    back = Service("back", [program])
    try:
        return Service("front", [program, "-next", back.address]), back
    except BaseException:
        back.stop()
        raise


def drive(
    service: Service,
    protocol: str,
    modes: Iterable[str],
    over: Iterable[str],
    requests: int,
    calls: int = 2,
    concurrency: int = 1,
    tag: str = "",
    warm: bool = True,
) -> None:
    """``requests`` of the relay over ``protocol``, modes in turn; each makes ``calls`` calls,
    over the protocols ``over`` in turn. ``tag`` is in the requests' names; ``warm``: one that
    makes no calls goes first, on the new connection.

    Raises:
        AssertionError: not all were answered well.
    """
    done = subprocess.run(
        [
            *(service.command[0], "-drive", protocol, "-modes", ",".join(modes)),
            *("-over", "+".join(over), "-next", service.address),
            *("-requests", str(requests), "-calls", str(calls)),
            *("-concurrency", str(concurrency), "-tag", tag, f"-warm={str(warm).lower()}"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr + service.errors


class EarlyLoad:
    """Requests over ``protocol`` that go on while an agent starts, until :meth:`count`: their
    truth is in headers of other names. Ready when all modes have been used on the connection."""

    def __init__(
        self,
        service: Service,
        protocol: str,
        modes: Iterable[str],
        over: Sequence[str],
        requests: int,
        concurrency: int,
    ) -> None:
        self._process = subprocess.Popen(
            [
                *(service.command[0], "-early", "-drive", protocol, "-modes", ",".join(modes)),
                *("-over", "+".join(over), "-calls", str(len(over)), "-tag", f"{protocol}-"),
                *("-next", service.address, "-requests", str(requests)),
                *("-concurrency", str(concurrency)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said == "early\n", said

    def count(self) -> None:
        """From now on requests count: as many as were asked for."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def finish(self) -> None:
        """Until those have been made.

        Raises:
            AssertionError: not all requests were answered well.
        """
        assert self._process.stdout is not None
        said = self._process.stdout.read()
        assert self._process.wait(120) == 0, said

    def __enter__(self) -> EarlyLoad:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def truth(span: Span, name: str) -> str:
    """A truth header of a span's request, whatever the protocol; "" without."""
    for prefix in _CAPTURED:
        value = span["attributes"].get(f"{prefix}x-truth-{name}")
        if value:
            return str(value[0])
    return ""


def calls(spans: list[Span], pid: int) -> list[Span]:
    """The CLIENT spans of a process."""
    return [s for s in spans if s["kind"] == "CLIENT" and s["resource"].get("process.pid") == pid]


@dataclass
class Verdict:
    """Client spans by what was said of their parents.

    Keys are (mode, protocol of the request, protocol of the call); ``rules`` counts the
    rules of the right ones.
    """

    right: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    wrong: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    absent: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    rules: Counter[tuple[str, str]] = field(default_factory=Counter)
    served: int = 0

    def of(self, counter: Counter[tuple[str, str, str]], mode: str) -> int:
        """Sum over protocols."""
        return sum(n for (m, _, _), n in counter.items() if m == mode)

    def __str__(self) -> str:
        return f"right {self.right}\nwrong {self.wrong}\nabsent {self.absent}\n{self.rules}"


def counted(spans: list[Span]) -> list[Span]:
    """Without the calls of :class:`EarlyLoad`, of which the truth cannot be read."""
    return [span for span in spans if span["kind"] != "CLIENT" or truth(span, "parent")]


def judge(spans: list[Span], pid: int) -> Verdict:
    """What was said of the calls that process ``pid`` made."""
    verdict = Verdict()
    requests = {}
    for span in spans:
        if span["kind"] == "SERVER" and span["resource"].get("process.pid") == pid:
            verdict.served += 1
            requests[span["trace_id"], span["span_id"]] = span
    for span in calls(spans, pid):
        wanted = truth(span, "parent")
        mode = wanted.partition(".")[0]
        parent = requests.get((span["trace_id"], span["parent_span_id"]))
        key = (mode, _protocol(parent), _protocol(span))
        if not span["parent_span_id"]:
            verdict.absent[key] += 1
        elif parent is not None and wanted and truth(parent, "id") == wanted:
            verdict.right[key] += 1
            verdict.rules[mode, span["attributes"]["otel_ebpf.parent.rule"]] += 1
        else:
            verdict.wrong[key] += 1
    return verdict


def _protocol(span: Span | None) -> str:
    if span is None:
        return "-"
    attributes = span["attributes"]
    if "rpc.system.name" in attributes:
        return str(attributes["rpc.system.name"])
    return "http" + str(attributes.get("network.protocol.version", "1.1"))
