"""One service built with old and new Go, stripped, position-independent, linked beside C:
every call has the parent that its header names, in all of them at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.e2e.agent import TRUTH_ENV, Agent
from tests.e2e.services import Service
from tests.e2e.truth import TRUTH, Verdict, drive, judge
from tests.gobuild import build_go

VERSIONS = ("go1.15.15", "go1.16.15", "go1.19.13", "go1.21.13", "go1.24.13", "local", "go1.27.4")
STRIPPED = ("-ldflags=-s -w",)
BUILDS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "symbols": ((), {}),
    "stripped": (STRIPPED, {}),
    "pie": (("-buildmode=pie",), {}),
    "pie-stripped": (("-buildmode=pie", *STRIPPED), {}),
    # The system's linker, beside libc's own thread-local variables.
    "external": (("-ldflags=-linkmode=external -extldflags=-static",), {"CGO_ENABLED": "1"}),
}
CASES = [
    *((version, build) for version in VERSIONS for build in ("symbols", "stripped")),
    *(("local", build) for build in ("pie", "pie-stripped", "external")),
    ("go1.15.15", "pie"),
    ("go1.19.13", "external"),
]
WITNESSED = ("seq", "ctx", "pool")
MODES = (*WITNESSED, "par")
REQUESTS, CALLS = 20, 2
EACH = REQUESTS * CALLS
Answer = tuple[dict[tuple[str, str], Verdict | str], dict[str, int]]


def built(version: str, build: str) -> list[str]:
    """The program, or why it cannot be had."""
    flags, env = BUILDS[build]
    if "CGO_ENABLED" in env and shutil.which("gcc") is None:
        return ["", "a C compiler is needed"]
    try:
        return [str(build_go(TRUTH, toolchain=version, flags=flags, env=env))]
    except RuntimeError as error:
        if "toolchain" in str(error) and "not available" in str(error):
            return ["", str(error)]
        raise


@pytest.fixture(scope="module")
def answer() -> Iterator[Answer]:
    """All of them under one agent; by case what was said, or why it could not be tried."""
    with ThreadPoolExecutor(2) as pool:
        programs = dict(zip(CASES, pool.map(lambda case: built(*case), CASES), strict=True))
    said: dict[tuple[str, str], Verdict | str] = {
        case: why[1] for case, why in programs.items() if not why[0]
    }
    with ExitStack() as stack:
        back = stack.enter_context(Service("back", [build_go(TRUTH)]))
        fronts = {
            case: stack.enter_context(Service("-".join(case), [program[0], "-next", back.url]))
            for case, program in programs.items()
            if program[0]
        }
        pids = [front.pid for front in fronts.values()]
        with Agent(pids=pids, env=TRUTH_ENV) as agent:

            def load(modes: tuple[str, ...], requests: int, calls: int) -> None:
                with ThreadPoolExecutor(2) as pool:
                    each = pool.map(lambda f: drive(f, modes, requests, calls), fronts.values())
                    list(each)

            # Where only an ancestor can be asked, and only births tell of it, the first call
            # asks for them to be followed.
            load(("asks",), 1, 1)
            load(WITNESSED, REQUESTS, CALLS)
            load(("par",), REQUESTS, CALLS)
            agent.wait_spans(len(fronts) * ((len(MODES) * REQUESTS) * (1 + CALLS) + 2), 30)
            spans = agent.stop()
        for case, front in fronts.items():
            said[case] = judge(spans, front.pid)
        yield said, agent.ledger


@pytest.mark.parametrize(("version", "build"), CASES)
def test_every_go_has_the_right_parents(answer: Answer, version: str, build: str) -> None:
    said, ledger = answer
    verdict = said[version, build]
    if isinstance(verdict, str):
        pytest.skip(verdict)
    verdict.check(WITNESSED, EACH, ledger)
    assert verdict.right["par"] >= EACH - 2, (verdict, ledger)
    assert verdict.right["asks"] + verdict.absent["asks"] == 1
