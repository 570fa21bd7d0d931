"""``otel-ebpf replay``: the whole pipeline above the kernel, on real recordings, without
privileges."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_ebpf.cli import main
from otel_ebpf.events.capture import CaptureReader, CaptureWriter, Frame
from otel_ebpf.events.frames import Burst, Clock, ProcessFrame, Stats, Watermark
from otel_ebpf.events.layout import LAYOUT
from tests.captures.replaying import can_drop, replay, unprivileged

CAPTURES = Path(__file__).resolve().parents[1] / "captures"
NAMES = sorted(path.name.removesuffix(".cap.gz") for path in CAPTURES.glob("*.cap.gz"))
TRUTHFUL = [name for name in NAMES if name.endswith("-services")]


def capture(name: str) -> Path:
    return CAPTURES / f"{name}.cap.gz"


def expectation(name: str) -> bytes:
    return gzip.decompress((CAPTURES / f"{name}.jsonl.gz").read_bytes())


def spans(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def truth(span: dict[str, Any], name: str) -> str:
    return str(span["attributes"].get(f"http.request.header.x-truth-{name}", [""])[0])


@pytest.mark.skipif(not can_drop(), reason="no other user can read this checkout")
@pytest.mark.parametrize("name", NAMES)
def test_the_same_spans_every_time_and_for_everybody(name: str) -> None:
    first, second = replay(capture(name)), replay(capture(name))
    assert first.returncode == 0, first.stderr.decode()
    assert first.stdout == second.stdout
    assert first.stdout == expectation(name), "see tests/captures/README.md"
    assert b"records lost: 0" in first.stderr


@pytest.mark.parametrize("name", TRUTHFUL)
def test_no_link_of_a_recording_is_wrong_and_few_are_missing(name: str) -> None:
    """The services tell each other who caused what; the tracer never reads that."""
    found = spans(expectation(name))
    by_id = {span["span_id"]: span for span in found}
    servers = {truth(span, "id") for span in found if span["kind"] == "SERVER"}
    rules: Counter[str] = Counter()
    missing = 0
    for span in found:
        parent = by_id.get(span["parent_span_id"])
        client = span["kind"] == "CLIENT"
        if parent is None:
            assert span["parent_span_id"] == ""
            missing += client and truth(span, "parent") in servers
            continue
        assert parent["trace_id"] == span["trace_id"]
        assert truth(parent, "id") == truth(span, "parent" if client else "id")
        assert parent["kind"] == ("SERVER" if client else "CLIENT")
        rules[span["attributes"]["otel_ebpf.parent.rule"]] += 1
    assert rules["same_host"] > 20
    # Pools that pass no context are abstained from; they are part of the load.
    assert missing < sum(rules.values()) / 2


@pytest.mark.parametrize(
    ("name", "rule", "least"),
    [
        ("node-turns", "turn", 300),
        ("node-frames", "node.context", 100),
        ("node-clients", "turn", 200),
        ("pools-of-threads", "pool.wake", 40),
        ("tasks-that-move", "rust.tokio_task", 30),
        ("tasks-that-move", "java.virtual_thread", 40),
        ("more-servers", "python.awaited", 35),
    ],
)
def test_links_of_loops_and_pools_are_never_wrong(name: str, rule: str, least: int) -> None:
    found = spans(expectation(name))
    by_id = {span["span_id"]: span for span in found}
    rules: Counter[str] = Counter()
    for span in found:
        if span["kind"] == "CLIENT" and span["parent_span_id"]:
            assert truth(by_id[span["parent_span_id"]], "id") == truth(span, "parent")
            rules[span["attributes"]["otel_ebpf.parent.rule"]] += 1
    assert rules[rule] >= least, rules


def test_the_demo_is_whole_trees() -> None:
    found = spans(expectation("demo"))
    roots = [span for span in found if not span["parent_span_id"]]
    assert len(roots) == 8
    assert {span["attributes"]["url.path"] for span in roots} == {"/checkout"}
    by_id = {span["span_id"] for span in found}
    assert all(span["parent_span_id"] in by_id for span in found if span not in roots)
    kinds = Counter(span["attributes"].get("otel_ebpf.parent.rule") for span in found)
    assert kinds["thread"] >= 6
    assert kinds["go.caller+context"] >= 8


def test_curls_requests_are_one_trace_each_and_a_carried_context_is_kept() -> None:
    found = spans(expectation("curl-http-server"))
    carried = [s for s in found if s["trace_id"] == "0af7651916cd43dd8448eb211c80319c"]
    assert [s["parent_span_id"] for s in carried] == ["b7ad6b7169203331"] * len(carried)
    assert {s["kind"] for s in carried} == {"CLIENT", "SERVER"}
    statuses = Counter(s["attributes"]["http.response.status_code"] for s in found)
    assert statuses[404] == 2
    assert {s["name"] for s in found} == {"GET", "HEAD"}


def test_no_recording_is_large_or_holds_what_is_not_its_own() -> None:
    for name in NAMES:
        assert capture(name).stat().st_size < 300_000
        content = gzip.decompress(capture(name).read_bytes())
        for foreign in (b"Cookie", b"Authorization", b"/root", b"/home", b"/tmp"):
            assert foreign not in content
        with CaptureReader(capture(name)) as reader:
            header = reader.header
        assert (header["host"], header["layout"]) == ("host", LAYOUT)
        for span in spans(expectation(name)):
            said = span["attributes"]
            on_unix = said.get("network.transport") == "unix"
            # Dubbo does not serve on loopback: it was recorded in a network of its own too.
            own = {"127.0.0.1", "192.0.2.2"} if name == "dubbo" else {"127.0.0.1"}
            assert said.get("network.peer.address") in ({None} if on_unix else own)
            assert not any(key.startswith("host.") for key in span["resource"])


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that another user can read too. Not below pytest's own, which each of its
    runs closes to others again."""
    with tempfile.TemporaryDirectory(prefix="otel-ebpf-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.parametrize("compressed", [True, False])
def test_a_cut_file_gives_what_is_readable_and_says_where_it_ends(
    readable: Path, compressed: bool
) -> None:
    content = capture("go-services").read_bytes()
    if not compressed:
        content = gzip.decompress(content)
    cut = readable / "cut.cap"
    cut.write_bytes(content[: len(content) * 6 // 10])
    done = replay(cut)
    assert done.returncode == 4
    whole = {span["span_id"] for span in spans(expectation("go-services"))}
    some = spans(done.stdout)
    assert 20 < len(some) < len(whole)
    assert len({span["span_id"] for span in some} & whole) > len(some) // 2
    said = done.stderr.decode()
    assert "truncated or damaged" in said
    assert "at byte" in said
    assert "spans exported" in said
    assert "Traceback" not in said


def rewritten(target: Path, **header: object) -> Path:
    """The demo's capture with another header."""
    reader = CaptureReader(capture("demo"))  # reading to its end closes it
    with CaptureWriter(target, {**reader.header, **header}) as out:
        for frame in reader:
            put(out, frame)
    return target


def put(out: CaptureWriter, frame: Frame) -> None:
    match frame:
        case Burst(cpu, data):
            out.burst(cpu, data)
        case Watermark(time):
            out.watermark(time)
        case ProcessFrame(fields):
            out.process(fields)
        case Clock(monotonic, epoch):
            out.clock(monotonic, epoch)
        case Stats(fields):
            out.stats(fields)


def test_what_is_no_capture_of_this_program_is_refused(readable: Path) -> None:
    text = readable / "text"
    text.write_text("not a capture")
    empty = readable / "empty"
    empty.write_bytes(b"")
    newer = readable / "newer"
    newer.write_bytes(b"otel-ebpf capture\n\x02" + bytes(100))
    cases = {
        text: "this is not a capture",
        empty: "this is not a capture",
        readable / "absent": "No such file",
        readable: "Is a directory",
        newer: "format version 2; this program reads 1",
        rewritten(readable / "layout", layout="00000000"): "laid out otherwise",
        rewritten(readable / "seed", seed="many"): "laid out otherwise",
    }
    for path, words in cases.items():
        done = unprivileged("replay", "--output", "json", path)
        said = done.stderr.decode()
        assert (done.returncode, done.stdout) == (4, b""), said
        assert words in said
        assert str(path) in said
        assert "mend:" in said
        assert "Traceback" not in said


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(min_value=0), st.integers(0, 255)), min_size=1, max_size=20))
def test_no_damage_is_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: list[tuple[int, int]]
) -> None:
    content = bytearray(gzip.decompress(capture("curl-http-server").read_bytes()))
    for at, value in damage:
        content[at % len(content)] = value
    file = tmp_path / "damaged"
    file.write_bytes(content)
    assert main(["replay", "--output", "json", str(file)]) in (0, 4)
    for line in capsys.readouterr().out.splitlines():
        json.loads(line)


@pytest.mark.parametrize("name", ["postgresql", "mysql"])
def test_values_that_passed_to_a_database_are_in_no_span(name: str) -> None:
    recorded = gzip.decompress(capture(name).read_bytes())
    assert b"s3cr3t" in recorded
    assert b"s3cr3t" not in expectation(name)


def test_a_file_that_a_client_sends_is_not_recorded() -> None:
    recorded = gzip.decompress(capture("mysql").read_bytes())
    assert b"LOAD DATA LOCAL INFILE" in recorded
    assert b"100\ts3cr3t" not in recorded
    loads = [s for s in spans(expectation("mysql")) if s["name"] == "LOAD items"]
    assert len(loads) == 4


def test_both_views_of_every_call_of_mariadb_are_joined() -> None:
    found = spans(expectation("mysql"))
    clients = {s["span_id"]: s["name"] for s in found if s["kind"] == "CLIENT"}
    for span in found:
        if span["kind"] == "SERVER":
            assert clients.pop(span["parent_span_id"]) == span["name"]
    assert not clients
