"""What the Kafka parser knows of calls agrees with the protocol's own definitions, which are in
the client's jar: every version of every call, encoded by them, is read to its last byte."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import pytest

from otel_ebpf.protocols.kafka_api import APIS, GROUP_FIRST, OWN
from otel_ebpf.protocols.kafka_calls import (
    Parts,
    fetch_request,
    fetch_response,
    produce_request,
    produce_response,
)
from otel_ebpf.protocols.kafka_frames import Body
from otel_ebpf.protocols.kafka_layouts import RESPONSES, layout, read
from tests.javabuild import maven_jars
from tests.unit.protocols.kafka_wire import ID, array, i16, i32, i64, text, traced, uvarint

pytestmark = pytest.mark.e2e
VERSIONS = ("3.9.1", "4.1.0")
Definition = dict[str, Any]


def _load(version: str) -> dict[str, Definition]:
    jar = next(
        path
        for path in maven_jars(f"org.apache.kafka:kafka-clients:{version}")
        if path.name == f"kafka-clients-{version}.jar"
    )
    found = {}
    with zipfile.ZipFile(jar) as archive:
        for name in archive.namelist():
            if re.fullmatch(r"common/message/\w+(Request|Response)\.json", name):
                said = re.sub(r"(?m)(^|\s)//.*$", "", archive.read(name).decode())
                definition = json.loads(said)
                if definition["validVersions"] != "none":
                    found[definition["name"]] = definition
    assert len(found) > 100
    return found


@pytest.fixture(scope="module", params=VERSIONS)
def definitions(request: pytest.FixtureRequest) -> dict[str, Definition]:
    try:
        return _load(request.param)
    except RuntimeError as error:
        pytest.skip(str(error))


def _has(versions: str | None, version: int) -> bool:
    if not versions or versions == "none":
        return False
    low, _, high = versions.rstrip("+").partition("-")
    if versions.endswith("+"):
        return version >= int(low)
    return int(low) <= version <= int(high or low)


def _versions(definition: Definition) -> Iterator[int]:
    return (n for n in range(30) if _has(definition["validVersions"], n))


class Encoder:
    """Encodes one version; ``said``: values by the field's name; error codes count up from
    ``error``, or are none where that is 0."""

    def __init__(
        self, definition: Definition, version: int, said: Mapping[str, Any], error: int = 0
    ) -> None:
        self._version = version
        self._flexible = _has(definition.get("flexibleVersions"), version)
        self._said = said
        self._structs = {s["name"]: s["fields"] for s in definition.get("commonStructs", [])}
        self._errors = count(error) if error else None
        self.body = self._struct(definition["fields"])

    def _struct(self, fields: list[Definition]) -> bytes:
        there = [f for f in fields if _has(f["versions"], self._version)]
        plain = [f for f in there if not _has(f.get("taggedVersions"), self._version)]
        out = b"".join(map(self._field, plain))
        # One tagged field of a number that nobody uses yet.
        return out + (b"\1\x63\4tags" if self._flexible else b"")

    def _field(self, field: Definition) -> bytes:
        kind, name = field["type"], field["name"]
        if kind.startswith("[]"):
            inner = kind[2:]
            size = self._said.get("[]" + name, 2)
            element = {**field, "type": inner}
            return array([self._field(element) for _ in range(size)], self._flexible)
        value = self._said.get(name)
        new = self._flexible and _has(field.get("flexibleVersions", "0+"), self._version)
        if kind == "string":
            return text("text" if value is None else value, new)
        if kind in ("bytes", "records"):
            data = b"bytes" if value is None else value
            return (uvarint(len(data) + 1) if new else i32(len(data))) + data
        if kind == "uuid":
            return ID
        if kind in ("int8", "bool"):
            return b"\1"
        if kind in ("int16", "uint16"):
            if name.endswith("ErrorCode") and self._errors is not None:
                return i16(next(self._errors))
            return i16(value or 0)
        if kind == "int32":
            return i32(7 if value is None else value)
        if kind in ("int64", "float64"):
            return i64(7 if value is None else value)
        return self._struct(field.get("fields") or self._structs[kind])

    def read(self) -> Body:
        body = Body([(0, self.body)], len(self.body))
        body.flexible = self._flexible
        return body


def test_every_call_and_version_is_known(definitions: dict[str, Definition]) -> None:
    seen = set()
    for name, definition in definitions.items():
        if not name.endswith("Request"):
            continue
        api = APIS[definition["apiKey"]]
        seen.add(api.name)
        # A call that was named anew later has the later name here.
        assert api.name == name.removesuffix("Request") or definition["apiKey"] == 74
        for version in _versions(definition):
            assert version <= api.newest
            assert _has(definition.get("flexibleVersions"), version) == (
                0 <= api.flexible <= version
            )
        if definition["apiKey"] in GROUP_FIRST:
            assert definition["fields"][0]["name"] == "GroupId"
            assert definition["fields"][0]["versions"] == "0+"
    assert len(seen) > 80
    assert {api.name for api in APIS.values()} >= OWN


@pytest.mark.parametrize("api", sorted(RESPONSES))
def test_errors_are_where_the_definitions_have_them(
    definitions: dict[str, Definition], api: int
) -> None:
    definition = definitions.get(f"{APIS[api].name}Response")
    if definition is None:
        pytest.skip("not in this version of Kafka")
    for version in _versions(definition):
        # OffsetFetch has a partition's error before the group's.
        encoded = Encoder(definition, version, {}, error=1)
        assert read(encoded.read(), layout(api, version)).error == 1, version
        body = Encoder(definition, version, {}).read()
        assert read(body, layout(api, version)).error == 0
        if not RESPONSES[api].rstrip("] ").endswith("!"):
            assert body.place == body.size, version


def test_metadata_tells_topics_ids(definitions: dict[str, Definition]) -> None:
    definition = definitions["MetadataResponse"]
    for version in _versions(definition):
        encoded = Encoder(definition, version, {"Name": "orders"})
        topics = read(encoded.read(), layout(3, version)).topics
        assert topics == ({ID: "orders"} if version >= 10 else {})


SAID: dict[str, Any] = {
    "Name": "orders",
    "Topic": "orders",
    "Index": 3,
    "PartitionIndex": 3,
    "Partition": 3,
    "Acks": -1,
    "FetchOffset": 100,
    "ReplicaId": -1,
    "SessionEpoch": 1,
    "BaseOffset": 100,
    "[]TopicData": 1,
    "[]Responses": 1,
    "[]PartitionData": 1,
    "[]PartitionResponses": 1,
    "[]Topics": 1,
    "[]Partitions": 1,
    "[]ForgottenTopicsData": 0,
    "Records": traced(1, 2, 3, base=99),
}


def _checked(told: Parts, version: int, named: int) -> None:
    assert told.whole
    (part,) = told.parts
    assert (part.name, part.topic) == (("orders", b"") if version < named else ("", ID))
    assert part.partitions == [3]


def test_produce(definitions: dict[str, Definition]) -> None:
    definition = definitions["ProduceRequest"]
    for version in _versions(definition):
        body = Encoder(definition, version, SAID).read()
        told = produce_request(body, version)
        _checked(told, version, 13)
        assert told.acks == -1
        assert (told.parts[0].records.count, len(told.parts[0].records.contexts)) == (3, 3)
    definition = definitions["ProduceResponse"]
    for version in _versions(definition):
        body = Encoder(definition, version, SAID, error=5).read()
        told = produce_response(body, version)
        _checked(told, version, 13)
        assert (told.parts[0].error, told.parts[0].offset) == (5, 100)


def test_fetch(definitions: dict[str, Definition]) -> None:
    for version in _versions(definitions["FetchRequest"]):
        wanted: dict[tuple[object, int], int] = {}
        body = Encoder(definitions["FetchRequest"], version, SAID).read()
        told = fetch_request(body, version, wanted)
        assert told.whole
        assert not told.follower
        assert wanted == {("orders" if version < 13 else ID, 3): 100}
        body = Encoder(definitions["FetchResponse"], version, SAID).read()
        told = fetch_response(body, version, wanted)
        _checked(told, version, 13)
        # The one before what was wanted does not count.
        assert (told.parts[0].records.count, len(told.parts[0].records.contexts)) == (2, 2)
    body = Encoder(definitions["FetchRequest"], 12, {**SAID, "ReplicaId": 2}).read()
    assert fetch_request(body, 12, {}).follower
