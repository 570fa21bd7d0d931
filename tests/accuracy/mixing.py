"""All protocols at once on one host: each call is seen once by each side, with its own reply, and
there is no span of a protocol that was not spoken on its port."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.accuracy.mix_hosts import SERVERS, Place
from tests.accuracy.mix_names import HEADER, name_in, name_of_trace
from tests.accuracy.mix_speakers import SPEAKERS
from tests.e2e.agent import Agent, Span
from tests.e2e.query import path_of
from tests.e2e.services import ROOT

THREADS = 4
SLACK = 5_000_000
"""Nanoseconds by which a program's clock and the agent's may differ."""
NOT_SEEN = ("response_lost", "no_response", "connection_closed")
"""Errors of calls whose reply was not seen."""
CLIENT, SERVER, DELIVERED, DELIVERS = "client", "server", "delivered", "delivers"
"""Sides of a call; the last two are those of a message that a broker hands on to its consumer."""
HEADERS = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_"
ENV = {HEADERS + "CLIENT_RESPONSE": HEADER, HEADERS + "SERVER_RESPONSE": HEADER}


MARKS = (
    f"http.response.header.{HEADER}",
    "dns.answers",
    "db.response.status_code",
    "otel_ebpf.thrift.exception_field",
)
"""Attributes with what a reply says of itself."""


class Made(NamedTuple):
    """A call as its client tells of it: see mix_speakers."""

    name: str
    mark: str
    began: int
    ended: int


@dataclass
class Verdict:
    """What became of one protocol's calls, each seen by its client and by its server.

    Attributes:
        made: the calls. seen: how many spans each has, by side and name.
        wrong: spans with another call's reply: they end as theirs was not meant to, say what its
            reply did not say, or begin or end outside of the time in which it was made.
        untold: names of calls of which a span does not say how they ended.
        lost: calls of whose reply a span says that it was not seen.
        others: names of spans on this port that are no such calls.
        marked: spans whose reply says whose it is. outside: how far, in nanoseconds, the
            farthest one began or ended outside.
    """

    made: dict[str, Made]
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    untold: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    others: Counter[str] = field(default_factory=Counter)
    marked: int = 0
    outside: int = 0

    def failing(self) -> int:
        """How many calls were meant to fail."""
        return sum(name.startswith("bad") for name in self.made)

    def spans(self, side: str) -> int:
        """How many there are."""
        return sum(count for (of, _), count in self.seen.items() if of == side)

    def uneven(self) -> dict[tuple[str, str], str]:
        """By side and name, the calls that one side has no span of, or more than one."""
        wanted = Counter((side, name) for name in self.made for side in (CLIENT, SERVER))
        if self.spans(DELIVERED) + self.spans(DELIVERS):
            sides = (DELIVERED, DELIVERS)
            wanted += Counter((s, n) for n in self.made for s in sides if n.startswith("ok"))
        return {
            (side, name): f"{self.seen[side, name]} spans instead of {wanted[side, name]}"
            for side, name in wanted.keys() | self.seen.keys()
            if wanted[side, name] != self.seen[side, name]
        }

    def missing(self) -> list[str]:
        """The same in words."""
        return [f"{side} {name}: {what}" for (side, name), what in self.uneven().items()]

    @property
    def right(self) -> bool:
        """Nothing is amiss."""
        amiss = self.missing() or self.wrong or self.untold or self.lost or self.others
        return not amiss


def asked(span: Span) -> str:
    """The name of the span's call, as it shows it."""
    attributes = span["attributes"]
    for name in ("dns.question.name", "db.query.text", "rpc.method", "messaging.destination.name"):
        if found := name_in(str(attributes.get(name, ""))):
            return found
    for link in span.get("links", ()):
        return name_of_trace(link["trace_id"])
    return name_in(path_of(span))


def answered(span: Span) -> str:
    """What its reply says of itself."""
    attributes = span["attributes"]
    if "messaging.kafka.offset" in attributes:
        partition = attributes["messaging.destination.partition.id"]
        return f"{partition}:{attributes['messaging.kafka.offset']}"
    for name in MARKS:
        if name in attributes:
            said = attributes[name]
            return str(said[0] if isinstance(said, list) else said)
    return ""


def protocol_of(span: Span) -> str:
    """As the speakers are called."""
    attributes = span["attributes"]
    system = str(attributes.get("db.system.name", attributes.get("messaging.system", "")))
    if system:
        return {"mariadb": "mysql", "rabbitmq": "amqp"}.get(system, system)
    if "dns.question.name" in attributes:
        return "dns"
    if attributes.get("network.protocol.name") in ("fastcgi", "uwsgi"):
        return str(attributes["network.protocol.name"])
    return str(attributes.get("rpc.system.name", "http"))


def failed(span: Span) -> bool:
    """Whether its reply says so. A DNS server's own span is none of a failure."""
    code = span["attributes"].get("dns.response_code", "NOERROR")
    return span["status"].get("code") == "ERROR" or code != "NOERROR"


def prepares(span: Span) -> bool:
    """Whether this is how a client prepares itself: a SET of SQL, a call of Kafka's own that has
    failed (a topic that is not there yet)."""
    attributes = span["attributes"]
    if attributes.get("messaging.system") == "kafka":
        return "messaging.destination.name" not in attributes
    return bool(str(attributes.get("db.query.text", "")).lower().startswith("set "))


def side_of(span: Span) -> str:
    """Whose view of what it is."""
    if span["attributes"].get("messaging.operation.name") == "deliver":
        return DELIVERED if span["kind"] == "CONSUMER" else DELIVERS
    return SERVER if span["kind"] == "SERVER" else CLIENT


def judge(
    spans: Iterable[Span], names: Mapping[int, str], made: Mapping[str, Iterable[Made]]
) -> dict[str, Verdict]:
    """By speaker; ``names``: by the port of its server; ``made``: its calls."""
    said = {name: Verdict({call.name: call for call in made[name]}) for name in names.values()}
    for span in spans:
        attributes = span["attributes"]
        port = attributes.get("server.port") or attributes.get("network.local.port")
        if int(port) not in names:
            continue  # a server's own, with its like
        verdict = said[names[int(port)]]
        name = asked(span)
        call = verdict.made.get(name)
        if protocol_of(span) != names[int(port)] or call is None:
            if not prepares(span):
                shown = attributes.get("db.query.text", "")
                verdict.others[f"{span['kind']} {span['name']} {shown}"] += 1
            continue
        side = side_of(span)
        verdict.seen[side, name] += 1
        if side in (DELIVERED, DELIVERS):
            bad, mark = False, ""
        else:
            bad, mark = name.startswith("bad"), answered(span) if call.mark else ""
        outside = call.began - span["start_time_unix_nano"]
        if side in (CLIENT, SERVER):  # a consumer may acknowledge later
            outside = max(outside, span["end_time_unix_nano"] - call.ended)
        verdict.outside = max(verdict.outside, outside)
        verdict.marked += bool(mark)
        if attributes.get("error.type") in NOT_SEEN:
            verdict.lost.add(name)
            continue
        told = protocol_of(span) != "grpc" or "rpc.response.status_code" in attributes
        if not told:
            verdict.untold.add(name)
        if (told and failed(span) != bad) or (mark and mark != call.mark) or outside > SLACK:
            said_ = f"failed: {failed(span)}, said {mark!r} for {call.mark!r}, outside: {outside}"
            verdict.wrong.append(f"{side} {name}: {said_}")
    return said


class Speaker:
    """A process of the tests' ``module`` with one protocol's clients."""

    def __init__(self, module: str, *words: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.{module}", *map(str, words)],
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def await_prepared(self) -> None:
        """Until it says so."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "prepared\n", self.process.args

    def go(self) -> None:
        """Begin; the second time, where it speaks until then: end."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def calls(self) -> list[Made]:
        """Once it has made them all."""
        return [Made(*call) for call in json.loads(self.process.communicate()[0])]

    def __enter__(self) -> Speaker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def hosts(stack: ExitStack, names: Sequence[str]) -> dict[str, Place]:
    """The servers of these protocols, running; they start all at once."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    folder.chmod(0o755)

    def start(name: str) -> Place:
        home = folder / name
        home.mkdir(mode=0o755)
        return stack.enter_context(SERVERS[name](home))

    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(start, names), strict=True))


def run(names: Sequence[str], seconds: int, pace: int) -> tuple[dict[str, Verdict], dict[str, int]]:
    """Speaks all of ``names`` for ``seconds``, ``pace`` calls a second each; and the ledger."""
    with ExitStack() as stack:
        places = hosts(stack, names)
        ports = {place.port: name for name, place in places.items()}
        flags = [word for port in ports for word in ("--port", str(port))]
        agent = stack.enter_context(Agent(*flags, env=ENV))
        speakers = {
            name: stack.enter_context(
                Speaker("accuracy.mix_speakers", name, place.called, seconds, THREADS, pace)
            )
            for name, place in places.items()
        }
        for speaker in speakers.values():
            speaker.await_prepared()
        for speaker in speakers.values():
            speaker.go()
        made = {name: speaker.calls() for name, speaker in speakers.items()}
        spans = agent.stop(120)
    return judge(spans, ports, made), agent.ledger


assert SERVERS.keys() == SPEAKERS.keys()
