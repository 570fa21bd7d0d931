"""Questions that tests ask of the agent's JSON spans."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Span = dict[str, Any]


def path_of(span: Span) -> str:
    """The request's path, of a SERVER span as of a CLIENT span."""
    attributes = span["attributes"]
    if "url.path" in attributes:
        return str(attributes["url.path"])
    full = str(attributes.get("url.full", ""))
    after = full.partition("://")[2]
    return "/" + after.partition("/")[2].partition("?")[0]


def select(
    spans: Iterable[Span], kind: str = "", path: str = "", pid: int | None = None
) -> list[Span]:
    """The spans of that kind, path and traced process, in the order of their start."""
    return sorted(
        (
            span
            for span in spans
            if (not kind or span["kind"] == kind)
            and (not path or path_of(span) == path)
            and (pid is None or span["resource"].get("process.pid") == pid)
        ),
        key=lambda span: int(span["start_time_unix_nano"]),
    )


def only(spans: Iterable[Span], kind: str = "", path: str = "", pid: int | None = None) -> Span:
    """The one span of that kind, path and process; it is an error when there are others."""
    found = select(spans, kind, path, pid)
    assert len(found) == 1, f"{len(found)} spans of {kind} {path} {pid or ''}: {found}"
    return found[0]


def parent_of(span: Span, spans: Iterable[Span]) -> Span | None:
    """The span's parent among ``spans``, None for a root. A dangling parent is an error."""
    if not span["parent_span_id"]:
        return None
    for other in spans:
        same_trace = other["trace_id"] == span["trace_id"]
        if same_trace and other["span_id"] == span["parent_span_id"]:
            return other
    raise AssertionError(f"the parent of {span} is not among the spans")


def joined(spans: Iterable[Span], *alike: str) -> list[tuple[Span, Span]]:
    """Pairs of a client's and its server's view. Each call has both, the server's is the client's
    child by their connection, and they have the same name and attributes ``alike``."""
    clients, pairs = {}, []
    spans = list(spans)
    for span in spans:
        if span["kind"] == "CLIENT":
            clients[span["span_id"]] = span
    for served in spans:
        if served["kind"] == "SERVER":
            client = clients.pop(served["parent_span_id"])
            assert served["attributes"]["otel_ebpf.parent.rule"] == "same_host"
            assert served["name"] == client["name"]
            for name in alike:
                assert served["attributes"].get(name) == client["attributes"].get(name), name
            pairs.append((client, served))
    assert not clients
    return pairs


def seconds_of(span: Span) -> float:
    """The span's duration in seconds."""
    return (int(span["end_time_unix_nano"]) - int(span["start_time_unix_nano"])) / 1e9
