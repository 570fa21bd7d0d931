"""Parents of databases' calls, at a few requests at once: a smaller run of :mod:`.databases`."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.accuracy.databases import judge, kept, measure, servers, table
from tests.accuracy.score import ABSENT, MISSING, RIGHT, WRONG

CALL = "SELECT ? AS `seq.1.{}_{}`"


@pytest.mark.kernel
@pytest.mark.e2e
@pytest.mark.timeout(300)  # what is built and had first
def test_every_call_of_a_database_is_its_requests_child() -> None:
    with servers() as running:
        cells = measure(running, 12, (1, 16), ("redis", "pgx", "mysqlprepared"))
    assert len(cells) == 2 * (3 * 3 + 3 * 2)
    # Of so few calls one that is absent is more than a hundredth; of all of them it is not.
    assert not sum(counts[WRONG] for counts in cells.values()), table(cells)
    assert kept(sum(cells.values(), Counter())), table(cells)


def test_the_judge_sees_what_is_wrong_absent_and_twice() -> None:
    def span(kind: str, number: int, parent: str, **attributes: str) -> dict[str, object]:
        return {"kind": kind, "trace_id": "t", "span_id": str(number), "parent_span_id": parent,
                "attributes": attributes}  # fmt: skip

    spans = [
        span("SERVER", 1, "", **{"url.query": "id=seq.1.0&n=3"}),
        span("SERVER", 2, "", **{"url.query": "id=seq.1.1&n=3"}),
        span("CLIENT", 3, "1", **{"db.query.text": CALL.format(0, 0)}),
        span("CLIENT", 4, "2", **{"db.query.text": CALL.format(0, 1)}),
        span("CLIENT", 5, "", **{"db.query.text": CALL.format(0, 2)}),
        span("CLIENT", 6, "2", **{"db.query.text": CALL.format(1, 0)}),
        span("CLIENT", 7, "", **{"db.query.text": CALL.format(1, 0)}),
    ]
    said = judge(spans, ["seq.1.0", "seq.1.1"])
    assert said == Counter(
        {("seq.1", RIGHT): 1, ("seq.1", WRONG): 2, ("seq.1", ABSENT): 1, ("seq.1", MISSING): 2}
    )
