"""The accuracy tables in Markdown, for the terminal and for docs/accuracy.md."""

from __future__ import annotations

import platform

from tests.accuracy.harness import Run
from tests.accuracy.score import ABSENT, MISSING, RIGHT, WRONG, Row, Score

INTRODUCTION = """# Accuracy of parents

This page is written by `tests/accuracy/run --write-docs`; do not edit it by hand.

Four services without any instrumentation call each other in random trees. Two are Go
(`net/http`), two are Python (`ThreadingHTTPServer`, and a server with a fixed pool of
threads). Every request carries two headers that only the harness reads: the id of this call
and the id of the request it is made for. The tracer captures them as span attributes, so
each span's parent can be compared with the truth.

Two more Go services speak HTTP/1, HTTP/2 and gRPC with each other in every combination (rows such
as "gRPC to HTTP/2": a gRPC handler that calls over HTTP/2), and tell the truth in the same way.
"Older connections" are those of before the tracer, on both
sides of the service, and in use while it starts.

An edge is **right** when the parent is the true one, **wrong** when it is any other span,
**absent** when the tracer gave no parent, and has **no span** when the span itself, or that of
its parent, is missing.
Precision is right / (right + wrong). Recall is right / all edges, so absent edges and missing
spans lower it; a kind with fewer than 100 edges may lack one. A kind without a floor of recall may
abstain; none may be wrong. **known** marks a limit of the rules: a pool that starts its workers
inside requests and passes no context on looks, from outside, like a request's own goroutines.
"""


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    # 99.996 must not read as 100: a floor of precision is about the last edge.
    shown = int(value * 100) / 100
    return f"{shown:.2f}".rstrip("0").rstrip(".")


def _row(row: Row) -> str:
    floor = "-" if row.floor is None else f"{row.floor:g}"
    cells = [
        row.label, str(row.expected),
        *(str(row.counts[name]) for name in (RIGHT, WRONG, ABSENT, MISSING)),
        _number(row.precision), _number(row.recall), floor, _VERDICTS[row.passes, row.known],
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


_VERDICTS = {
    (True, False): "yes", (True, True): "yes", (False, False): "**no**", (False, True): "known",
}  # fmt: skip

_HEAD = (
    "| edge kind | edges | right | wrong | absent | no span | precision % | recall % "
    "| floor of recall % | kept |\n|-|-:|-:|-:|-:|-:|-:|-:|-:|-|"
)


def total_table(score: Score) -> str:
    """One row per kind of edge, all concurrencies together."""
    families = ("root", "client to server", "in process")
    rows = sorted(score.totals(), key=lambda row: (families.index(row.family), row.label))
    return "\n".join([_HEAD, *map(_row, rows)])


def level_table(score: Score) -> str:
    """Precision / recall of each kind by concurrency."""
    levels = score.levels()
    lines = [
        "| edge kind | " + " | ".join(f"concurrency {level}" for level in levels) + " |",
        "|-|" + "-:|" * len(levels),
    ]
    for label in sorted({label for label, _ in score.rows}):
        cells = []
        for level in levels:
            row = score.rows.get((label, level))
            if row is None:
                cells.append("-")
            else:
                cells.append(f"{_number(row.precision)} / {_number(row.recall)} ({row.expected})")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def rule_table(score: Score) -> str:
    """Which rule gave the parents of each kind."""
    lines = ["| edge kind | rules that gave the parent |", "|-|-|"]
    for row in sorted(score.totals(), key=lambda row: row.label):
        if row.rules:
            used = ", ".join(f"{name} {n}" for name, n in sorted(row.rules.items()))
            lines.append(f"| {row.label} | {used} |")
    return "\n".join(lines)


def summary(run: Run) -> str:
    score = run.score
    share = 100 * score.whole_trees / score.trees if score.trees else 0.0
    lines = [
        f"{run.calls} calls in {score.trees} trees gave {len(run.spans)} spans; "
        f"{score.whole_trees} trees ({_number(share)} %) are whole.",
    ]
    if run.failed:
        lines.append(f"{run.failed} trees failed in the services and are not counted.")
    lines += [f"{count} {name}." for name, count in sorted(score.anomalies.items())]
    return "\n".join(lines)


def document(run: Run, command: str) -> str:
    """The whole of docs/accuracy.md."""
    machine = (
        f"Linux {platform.release()}, {platform.machine()}, Python {platform.python_version()}"
    )
    return "\n".join(
        [
            INTRODUCTION, f"Last run: `{command}` on {machine}.", "", summary(run), "",
            "## All concurrencies together", "", total_table(run.score), "",
            "## Precision / recall in per cent (edges) by concurrency", "",
            level_table(run.score), "",
            "## Which rule gave the parent", "",
            "The rules are described in [correlation.md](correlation.md).", "",
            rule_table(run.score), "",
        ]
    )  # fmt: skip


LOOPS_INTRODUCTION = """# Accuracy of parents in event loops

This page is written by `tests/accuracy/run --loops --write-docs`; do not edit it by hand. What
is measured and how is told in [accuracy.md](accuracy.md), the rules in
[correlation.md](correlation.md#event-loops).

Each service runs without any instrumentation: it is sent requests, so many at a time for two
services together, and calls a Go service for each, one after the other, in parallel, or in one
of asyncio's other ways. nginx, and HAProxy with "retries", proxy to two servers of which one
refuses connections. Most are one event loop; gunicorn has two worker processes, "cluster" too.
"submitted" has a pool of threads call, "executor" is `run_in_executor`. "maxSockets" and
"limited" have four connections for all requests. With "AsyncLocalStorage" each request runs in
a frame of one. In "queue" calls that had to wait are begun by whoever is done, in that
one's frame. All but gunicorn's and the proxies sleep at random before
calls, if not "without sleeps"; what is believed of a Node process is learnt in its first hundred
responses, and what was named before waits for that. A kind without a floor of recall may
abstain; none may be wrong. In asyncio, "later" and "background" are tasks that nobody waits for
while they call, "to_thread" calls from a thread, and "body" sends one, which aiohttp does in a
task of its own; a request of "background" is written after its cause was answered. None of these
needs a warm-up: copies of contexts are told from when asyncio's tasks are found. What threads of
pools do for threads ("submitted", "executor") is not known of a process's first eight such calls.
"""


POOLS_INTRODUCTION = """# Accuracy of parents in pools of threads

This page is written by `tests/accuracy/run --pools --write-docs`; do not edit it by hand. What
is measured and how is told in [accuracy.md](accuracy.md), the rules in
[correlation.md](correlation.md#pools-of-threads).

Each service runs without any instrumentation: it is sent requests, so many at a time, and calls
a Go service for each. "sequential" calls in the thread that serves, "submitted" has a pool make
each call and waits for it, "executor" has it make all and waits for one after the other,
"async" is `HttpClient.sendAsync`. "python threading" has a thread for each connection; in
"python handed" one thread reads requests and a pool of 16 answers them; "java" is the JDK's
server with a pool of 16, "tomcat" an embedded Tomcat with 16 threads; "c" has pools of
pthreads like "python handed"; "tokio" and "java
virtual threads" move tasks between threads. The pools that call have 8 threads; those of the
last call in a virtual thread of its own, and "parallel" in tasks of their own. A kind without
a floor of recall may abstain; none may be wrong. The first eight calls of a service are lost to
learning that it needs to be followed.
"""


def loops_document(run: Run, command: str, introduction: str) -> str:
    """The whole of docs/accuracy-loops.md, or of docs/accuracy-pools.md."""
    machine = f"Linux {platform.release()}, {platform.machine()}"
    return "\n".join(
        [
            introduction, f"Last run: `{command}` on {machine}.", "",
            "## All concurrencies together", "", total_table(run.score), "",
            "## Precision / recall in per cent (edges) by concurrency", "",
            level_table(run.score), "",
            "## Which rule gave the parent", "", rule_table(run.score), "",
        ]
    )  # fmt: skip
