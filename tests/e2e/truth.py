"""The Go service that tells for which request it calls, its load, and how right spans are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

from tests.e2e.query import Span, path_of, select
from tests.e2e.raw import Connection
from tests.e2e.services import TESTS, Service

TRUTH = TESTS / "targets" / "go" / "truth"


def pair(program: Path, back_program: Path | None = None) -> tuple[Service, Service]:
    """The service, and the one that it calls."""
    back = Service("back", [back_program or program])
    try:
        return Service("front", [program, "-next", back.url]), back
    except BaseException:
        back.stop()
        raise


def drive(
    service: Service, modes: Iterable[str], requests: int, calls: int = 2, concurrency: int = 4
) -> list[str]:
    """``requests`` of each mode, ``calls`` calls each; returns the requests' ids."""
    work = [(mode, f"{mode}.{number}") for number in range(requests) for mode in modes]

    def run(part: list[tuple[str, str]]) -> None:
        with Connection("127.0.0.1", service.port) as connection:
            for mode, name in part:
                connection.get(f"/call?id={name}&mode={mode}&n={calls}")

    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(run, [work[i::concurrency] for i in range(concurrency)]))
    return [name for _, name in work]


@dataclass
class Verdict:
    """Client spans by what was said of their parents; keys are modes.

    ``rules`` counts (mode, rule) of the right ones.
    """

    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    absent: Counter[str] = field(default_factory=Counter)
    rules: Counter[tuple[str, str]] = field(default_factory=Counter)

    def check(self, modes: Sequence[str], each: int, ledger: Mapping[str, int]) -> None:
        """Of ``each`` calls of these modes all are right; of others none is wrong.

        A caller that did not wait yet when its answer came cannot be asked: so many, which
        the kernel half has counted, may be absent.
        """
        assert not self.wrong, (self, ledger)
        for mode in modes:
            assert self.right[mode] + self.absent[mode] == each, (self, ledger)
        lost = sum(self.absent[mode] for mode in modes)
        assert lost <= ledger.get("go_not_parked", 0), (self, ledger)
        assert lost <= each * len(modes) // 20 + 1, (self, ledger)

    def __str__(self) -> str:
        return f"right {self.right} wrong {self.wrong} absent {self.absent} {self.rules}"


def judge(spans: list[Span], pid: int) -> Verdict:
    """What was said of the calls that process ``pid`` made."""
    verdict = Verdict()
    requests = {}
    for span in select(spans, "SERVER", "/call", pid):
        name = parse_qs(span["attributes"]["url.query"])["id"][0]
        requests[span["trace_id"], span["span_id"]] = name
    for span in spans:
        if span["kind"] != "CLIENT" or span["resource"].get("process.pid") != pid:
            continue
        assert path_of(span) == "/leaf"
        (truth,) = span["attributes"]["http.request.header.x-truth-parent"]
        mode = truth.partition(".")[0]
        said = requests.get((span["trace_id"], span["parent_span_id"]))
        if not span["parent_span_id"]:
            verdict.absent[mode] += 1
        elif said == truth:
            verdict.right[mode] += 1
            verdict.rules[mode, span["attributes"]["otel_ebpf.parent.rule"]] += 1
        else:
            verdict.wrong[mode] += 1
    return verdict
