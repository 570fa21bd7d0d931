"""``otel-ebpf doctor --pid N``: what is known of one process, and what tracing it costs.

Nothing is attached: the plan is made as the agent makes it, for a kernel half that only
takes notes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from typing import Any, TextIO

from otel_ebpf.discovery.go_binary import GoBinary
from otel_ebpf.discovery.go_fields import MODULES, STD, home_of
from otel_ebpf.discovery.go_headers import header_plan
from otel_ebpf.discovery.go_identity import BOTH, TLS, UPROBE, chosen_way
from otel_ebpf.discovery.openssl import mapped, places_of
from otel_ebpf.discovery.processes import ProcessImage, classify
from otel_ebpf.discovery.procfs import ProcFs
from otel_ebpf.discovery.tls_libraries import UNKNOWN_LIBRARY, not_readable
from otel_ebpf.discovery.ways import PASSIVE
from otel_ebpf.doctor_loops import identities
from otel_ebpf.errors import UsageError
from otel_ebpf.probe_costs import EVENTS, KINDS, READ, WRITE
from otel_ebpf.status import spoken_unread
from otel_ebpf.targets import Targets

_WAYS: dict[int | None, str] = {
    TLS: "read from memory, no uprobe",
    UPROBE: "by watching the scheduler (uprobes)",
    BOTH: "both ways, compared",
    None: "not told apart: no request gets a parent from its goroutine",
}


class Notes:
    """Stands for the kernel half and writes down which uprobes it is asked for."""

    def __init__(self) -> None:
        self.places: list[tuple[int, str]] = []

    def set_process(
        self, pid: int, members: dict[str, int], name_of_map: str = "proc_info_map"
    ) -> None: ...

    def follow_turns(self) -> None: ...

    def follow_pools(self) -> None: ...

    def attach_uprobe(
        self, path: str, offset: int, program: str, *, returns: bool = False, pid: int = 0
    ) -> int:
        self.places.append((offset, program))
        return len(self.places)

    def detach_uprobe(self, *handles: int) -> None: ...

    def believe_copies(self, pid: int, told: bool) -> None: ...

    def choose(self, pids: Sequence[int]) -> None: ...

    def forget(self, pid: int) -> None: ...

    def traces(self, pid: int) -> bool:
        return True


def plan(image: ProcessImage, identity: str = "auto", go_http2: str = PASSIVE) -> Notes:
    """What the agent would do for this process."""
    notes = Notes()
    targets = Targets([], identity, go_http2)
    targets.start(notes, [image])
    targets.stop()
    return notes


def _symbol(go: GoBinary, offset: int) -> str:
    """The function that a probe at this offset of the file is in."""
    for name, start in go.symbols.items():
        if start <= offset < start + max(go.sizes.get(name, 0), 1):
            return name
    return f"+{offset:#x}"


def _offsets(go: GoBinary) -> dict[str, dict[str, Any]]:
    """By home: where its offsets came from, how many, and which are guesses."""
    found: dict[str, dict[str, Any]] = {}
    for home, source in go.sources.items():
        found[home] = {
            "source": source,
            "known": sum(home_of(name) == home for name in go.offsets),
            "not_used": sorted(name for name in go.guesses if home_of(name) == home),
        }
    return found


def _headers(go: GoBinary, go_http2: str) -> dict[str, Any]:
    """Functions that have header blocks in hand: those with a probe if it is asked for, and why
    the others have none."""
    found = header_plan(go)
    return {
        "from": go_http2,
        "functions": [name for name, _ in found.probes],
        "missing": dict(found.missing),
    }


def _tls_writes(attached: Collection[str]) -> str:
    """How Writes of TLS are seen; "" where TLS is not."""
    if not READ.hits(attached):
        return ""
    probed = WRITE.hits(attached)
    return "by uprobes" if probed else "from the stack, no uprobe"


def report(image: ProcessImage, identity: str = "auto", go_http2: str = PASSIVE) -> dict[str, Any]:
    """All of it, for JSON: ``pid``, ``exe``, ``language``, ``runtime``, and for Go ``go``.

    ``go["requests"]`` has for each kind of request in the program its uprobe hits, or None
    where it is not bound to its goroutine.
    """
    facts: dict[str, Any] = {
        "pid": image.pid,
        "exe": image.exe,
        "language": image.language,
        "runtime": {"name": image.runtime_name, "version": image.runtime_version},
    }
    if image.problem:
        facts["problem"] = image.problem
    go = image.go
    if go is None:
        told = identities(image)
        if told:
            facts["event_loop"] = told
        facts["openssl"] = [
            {"file": file, "uprobes": len(places_of(key, path))}
            for key, path, file in mapped(image.pid, ProcFs())
        ]
        other = not_readable(image.pid, ProcFs())
        if other:
            facts["tls_not_readable"] = other
        return facts
    notes = plan(image, identity, go_http2)
    attached = {program for _, program in notes.places}
    facts["go"] = {
        "version": go.version_text,
        "main": {"path": go.path, "module": go.module, "version": go.module_version},
        "modules": {module: go.deps[module] for module in MODULES if module in go.deps},
        "position_independent": go.pie,
        "stripped": go.stripped,
        "cgo": go.cgo,
        "g_offset": go.g_tls_offset,
        "goroutines": _WAYS[chosen_way(go, identity)],
        "offsets": _offsets(go),
        "http2_headers": _headers(go, go_http2),
        "tls_writes": _tls_writes(attached),
        "probes": [
            {"function": _symbol(go, at), "offset": at, "program": program}
            for at, program in sorted(
                notes.places, key=lambda place: (_symbol(go, place[0]), place)
            )
        ],
        "requests": {
            kind.name: kind.hits(attached)
            for kind in KINDS
            if kind.hits(attached) is not None or kind.within(go.symbols)
        },
        "events": {
            event.name: {"hits": event.hits(attached), "per_request": event.per_request}
            for event in EVENTS
            if event.hits(attached)
        },
    }
    return facts


def _go_lines(go: dict[str, Any]) -> list[tuple[str, str]]:
    main = go["main"]
    kind = ["position-independent" if go["position_independent"] else "fixed address"]
    kind += [word for word in ("stripped", "cgo") if go[word]]
    module = f"{main['module'] or main['path'] or 'not told'} {main['version']}"
    lines = [
        ("main module", module.strip()),
        *((module, version) for module, version in go["modules"].items()),
        ("program", ", ".join(kind)),
        ("current goroutine", "place not known" if go["g_offset"] is None else
         f"at the thread pointer {go['g_offset']:+d}"),
        ("goroutines", go["goroutines"]),
    ]  # fmt: skip
    origin = {"dwarf": "the program's own debugging data", "table": "the table of versions"}
    for home, facts in go["offsets"].items():
        text = f"{facts['known']} from {origin[facts['source']]}"
        if facts["not_used"]:
            text += (
                f"; {len(facts['not_used'])} not certain and not used, as {facts['not_used'][0]}"
            )
        lines.append((f"offsets of {'Go' if home == STD else home}", text))
    if STD not in go["offsets"]:
        lines.append(("offsets of Go", "none: this version is not known"))
    headers = go["http2_headers"]
    if headers["functions"] or headers["missing"]:
        told, passive = len(headers["functions"]), headers["from"] == PASSIVE
        lines.append(
            ("HTTP/2 headers", "from the socket's bytes, no uprobe" if passive else
             f"told by {told} functions with a uprobe each, for each request")
        )  # fmt: skip
    if go["tls_writes"]:
        lines.append(("what TLS writes", go["tls_writes"]))
    if headers["from"] != PASSIVE:
        lines += [("no uprobe", f"{name}: {why}") for name, why in headers["missing"].items()]
    functions: dict[str, int] = {}
    for probe in go["probes"]:
        functions[probe["function"]] = functions.get(probe["function"], 0) + 1
    for function, count in functions.items():
        lines.append((f"uprobe{'s' * (count > 1)}", f"{function}{f' ({count})' * (count > 1)}"))
    for name, hits in go["requests"].items():
        off = "not bound to its goroutine: its fields are not known for this version"
        about = "about " * (bool(hits) and " with TLS " in name)  # streams share reads and writes
        text = off if hits is None else f"{about}{hits} uprobe hits"
        lines.append(("a request", f"{name}: {text}"))
    for name, facts in go["events"].items():
        often = "none a request" if facts["per_request"] == "0" else facts["per_request"]
        lines.append(("uprobe hits", f"{facts['hits']} for {name} ({often})"))
    return lines


def _text(facts: dict[str, Any]) -> str:
    runtime = " ".join(word for word in facts["runtime"].values() if word)
    lines = [("language", facts["language"] or "not known: traced by thread")]
    if runtime:
        lines.append(("runtime", runtime))
    if "problem" in facts:
        lines.append(("problem", f"{facts['problem']}; it is traced by thread"))
    if "event_loop" in facts:
        lines.append(("event loop", facts["event_loop"]))
    if "go" in facts:
        lines += _go_lines(facts["go"])
    for copy in facts.get("openssl", ()):
        lines.append(("OpenSSL", f"{copy['file']}, {copy['uprobes']} uprobes"))
    if facts.get("openssl"):
        each = "2 uprobe hits each SSL_read and SSL_write, at least 4 a request of HTTP/1"
        lines.append(("a request", f"over TLS: {each}; without TLS: none"))
    if "tls_not_readable" in facts:
        lines.append(("TLS", f"calls through {facts['tls_not_readable']} cannot be read"))
    if "spoken_unread" in facts:
        what = facts["spoken_unread"] or UNKNOWN_LIBRARY
        lines.append(("seen", f"it speaks what cannot be read ({what}): those calls are missing"))
    width = max(len(name) for name, _ in lines)
    head = f"process {facts['pid']}: {facts['exe'] or 'its program may not be read'}"
    return "\n".join([head, *(f"  {name:<{width}}  {text}" for name, text in lines)]) + "\n"


def run_process_doctor(
    pid: int,
    stream: TextIO,
    *,
    as_json: bool = False,
    identity: str = "auto",
    go_http2: str = PASSIVE,
) -> int:
    """Write what is known of a process to ``stream``; 0. UsageError when there is none."""
    image = classify(pid)
    if image is None:
        raise UsageError(
            f"there is no process {pid}", where="--pid", mend="see `ps -e` for those that run"
        )
    facts = report(image, identity, go_http2)
    spoken = spoken_unread(pid, os.environ)
    if spoken is not None:
        facts["spoken_unread"] = spoken
    stream.write(
        json.dumps(facts, indent=2, ensure_ascii=False) + "\n" if as_json else _text(facts)
    )
    return 0
