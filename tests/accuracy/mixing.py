"""All protocols at once on one host: no span of a protocol that was not spoken on its port, and no
call with another's reply."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.accuracy.mix_hosts import SERVERS
from tests.accuracy.mix_speakers import SPEAKERS
from tests.e2e.agent import Agent, Span
from tests.e2e.query import path_of
from tests.e2e.services import ROOT

THREADS = 4
_BAD = re.compile(r"\bbad(_\d+)?\b")


@dataclass
class Verdict:
    """What became of one protocol's calls, each seen by its client and by its server.

    Attributes:
        made: calls by how they were meant to end, as their client counted them.
        clients, servers: spans of these calls, by how they ended.
        wrong: spans whose end is not what the call was meant for.
        others: names of spans on this port that are no such calls.
    """

    made: Counter[str] = field(default_factory=Counter)
    clients: Counter[str] = field(default_factory=Counter)
    servers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    @property
    def right(self) -> bool:
        """All calls are there from both sides, with their own ends, and nothing else is."""
        every = self.made == self.clients == self.servers
        return every and not self.wrong and not self.others


def asked(span: Span) -> str:
    """What the span's call says of itself."""
    attributes = span["attributes"]
    for name in ("db.query.text", "rpc.method", "messaging.destination.name"):
        if name in attributes:
            return str(attributes[name])
    return path_of(span)


def protocol_of(span: Span) -> str:
    """As the speakers are called."""
    attributes = span["attributes"]
    system = str(attributes.get("db.system.name", ""))
    if system:
        return {"mariadb": "mysql"}.get(system, system)
    if "messaging.system" in attributes:
        return str(attributes["messaging.system"])
    if attributes.get("network.protocol.name") in ("fastcgi", "uwsgi"):
        return str(attributes["network.protocol.name"])
    return "grpc" if "rpc.method" in attributes else "http"


def judge(spans: list[Span], names: dict[int, str]) -> dict[str, Verdict]:
    """By speaker; ``names``: by the port of its server."""
    said = {name: Verdict() for name in names.values()}
    for span in spans:
        attributes = span["attributes"]
        port = attributes.get("server.port") or attributes.get("network.local.port")
        verdict = said[names[int(port)]]
        text = asked(span)
        if text.lower().startswith("set "):
            continue  # how a client prepares itself
        meant = "bad" if _BAD.search(text.lower()) else "ok" if "ok" in text.lower() else ""
        if protocol_of(span) != names[int(port)] or not meant:
            verdict.others[f"{span['kind']} {span['name']} {text}"] += 1
            continue
        ended = "bad" if span["status"].get("code") == "ERROR" else "ok"
        (verdict.servers if span["kind"] == "SERVER" else verdict.clients)[ended] += 1
        if ended != meant:
            verdict.wrong.append(f"{span['kind']} {text}: {ended}")
    return said


def run(names: list[str], seconds: int, pace: int) -> tuple[dict[str, Verdict], dict[str, int]]:
    """Speaks all of ``names`` for ``seconds``, ``pace`` calls a second each; and the ledger."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        places = {}
        for name in names:
            home = folder / name
            home.mkdir(mode=0o755)
            places[name] = stack.enter_context(SERVERS[name](home))
        ports = {place.port: name for name, place in places.items()}
        speakers = {}
        for name, place in places.items():
            words = [name, str(place.called), str(seconds), str(THREADS), str(pace)]
            speakers[name] = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.accuracy.mix_speakers", *words],
                    cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                )
            )  # fmt: skip
            stack.callback(speakers[name].kill)
        flags = [word for port in ports for word in ("--port", str(port))]
        agent = stack.enter_context(Agent(*flags))
        for speaker in speakers.values():
            assert speaker.stdin is not None
            speaker.stdin.write("\n")
            speaker.stdin.flush()
        made = {name: json.loads(s.communicate()[0] or "{}") for name, s in speakers.items()}
        spans = agent.stop(120)
    said = judge(spans, ports)
    for name, verdict in said.items():
        verdict.made.update(made[name])
    return said, agent.ledger


assert SERVERS.keys() == SPEAKERS.keys()
