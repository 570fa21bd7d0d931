"""One span a line: the same spans give the same bytes."""

from __future__ import annotations

import io
import json
import math

from otel_ebpf.export.json_lines import JsonExporter
from tests.unit.export.spans import START, process, span


def lines(*spans: object) -> list[str]:
    stream = io.StringIO()
    JsonExporter(stream).export(list(spans))  # type: ignore[arg-type]
    return stream.getvalue().splitlines()


def test_a_line_holds_the_whole_span() -> None:
    made = span(3, 2, kind=3, attributes={"b": 1, "a": ["x", "y"], "c": True, "d": 0.5})
    made.status, made.status_message, made.trace_state = 2, "reset", "k=v"
    [line] = lines(made)
    assert json.loads(line) == {
        "trace_id": "00000000000000000000000000000001",
        "span_id": "0000000000000003",
        "parent_span_id": "0000000000000002",
        "name": "GET",
        "kind": "CLIENT",
        "start_time_unix_nano": START,
        "end_time_unix_nano": START + 1_000_000,
        "attributes": {"a": ["x", "y"], "b": 1, "c": True, "d": 0.5},
        "resource": {"service.name": "shop"},
        "status": {"code": "ERROR", "message": "reset"},
        "trace_state": "k=v",
    }


def test_a_root_has_an_empty_parent() -> None:
    assert json.loads(lines(span())[0])["parent_span_id"] == ""
    assert json.loads(lines(span())[0])["kind"] == "SERVER"


def test_bytes_do_not_depend_on_the_order_in_which_attributes_were_set() -> None:
    first = span(attributes={"a": 1, "b": "é"}, resource=process("s", x=1, y=2))
    second = span(attributes={"b": "é", "a": 1}, resource=process("s", y=2, x=1))
    assert lines(first) == lines(second)


def test_every_line_is_valid_ascii_json_whatever_the_text() -> None:
    made = span(
        name="\ud800\n",
        attributes={"\udfff": "\u2028\x00", "nan": math.nan, "inf": -math.inf, "l": [math.inf]},
    )
    [line] = lines(made)
    assert line.isascii()
    read = json.loads(line, parse_constant=lambda text: AssertionError(text))
    assert read["name"] == "\ufffd\n"
    assert read["attributes"] == {
        "\ufffd": "\u2028\x00",
        "nan": "NaN",
        "inf": "-Infinity",
        "l": ["Infinity"],
    }


def test_a_resource_that_gains_attributes_is_written_anew() -> None:
    resource = process("shop")
    stream = io.StringIO()
    exporter = JsonExporter(stream)
    exporter.export([span(resource=resource)])
    resource.attributes["k8s.pod.name"] = "p"
    exporter.export([span(resource=resource)])
    assert "k8s.pod.name" in json.loads(stream.getvalue().splitlines()[1])["resource"]


def test_a_reader_that_goes_away_is_counted_not_raised() -> None:
    stream = io.StringIO()
    exporter = JsonExporter(stream)
    exporter.export([span(1)])
    stream.close()
    assert exporter.export([span(2), span(3)]).dropped == {"output_failed": 2}
    assert exporter.stats() == {"spans_exported": 1, "spans_dropped.output_failed": 2}
