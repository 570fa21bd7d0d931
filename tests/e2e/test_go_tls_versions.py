"""HTTPS served and called by one program built with every Go: the same builds as
``test_go_versions``, which the cache keeps."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.e2e.agent import TRUTH_ENV, Agent
from tests.e2e.query import select
from tests.e2e.services import Service
from tests.e2e.test_go_tls import ask, connect, joined
from tests.e2e.test_go_versions import CASES, built
from tests.e2e.truth import TRUTH, Verdict, judge
from tests.gobuild import build_go

MODES = ("seq", "ctx", "pool")
REQUESTS, CALLS = 6, 2
Said = tuple[Verdict, int]


@pytest.fixture(scope="module")
def answer() -> Iterator[dict[tuple[str, str], Said | str]]:
    """By case, what was said of its calls and how many requests it was seen to serve."""
    with ThreadPoolExecutor(2) as pool:
        programs = dict(zip(CASES, pool.map(lambda case: built(*case), CASES), strict=True))
    said: dict[tuple[str, str], Said | str] = {
        case: why[1] for case, why in programs.items() if not why[0]
    }
    with ExitStack() as stack:
        back = stack.enter_context(Service("back", [build_go(TRUTH), "-tls", "1.3"]))
        url = f"https://{back.address}"
        fronts = {
            case: stack.enter_context(
                Service("-".join(case), [program[0], "-tls", "1.3", "-next", url])
            )
            for case, program in programs.items()
            if program[0]
        }
        pids = [front.pid for front in fronts.values()]
        with Agent(pids=[*pids, back.pid], env=TRUTH_ENV) as agent:
            for front in fronts.values():
                with connect(front) as connection:
                    for number in range(REQUESTS):
                        for mode in MODES:
                            ask(connection, f"/call?id={mode}.{number}&mode={mode}&n={CALLS}")
            spans = agent.stop()
        assert joined(spans, back.pid) == {True: len(fronts) * len(MODES) * REQUESTS * CALLS}
        for case, front in fronts.items():
            served = len(select(spans, "SERVER", "/call", front.pid))
            said[case] = judge(spans, front.pid), served
        yield said


@pytest.mark.parametrize(("version", "build"), CASES)
def test_https_of_every_go_has_the_right_parents(
    answer: dict[tuple[str, str], Said | str], version: str, build: str
) -> None:
    said = answer[version, build]
    if isinstance(said, str):
        pytest.skip(said)
    verdict, served = said
    assert served == len(MODES) * REQUESTS
    assert not verdict.wrong, verdict
    assert verdict.right + verdict.absent == dict.fromkeys(MODES, REQUESTS * CALLS), verdict
    # A few callers may not have come to wait yet when their responses do.
    assert verdict.absent.total() <= 3, verdict
