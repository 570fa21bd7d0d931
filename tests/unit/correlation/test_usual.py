"""The usual exchange: the way past the parser gives what the parser's way gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.correlation.correlator import Correlator
from otel_ebpf.correlation.ids import Ids
from otel_ebpf.correlation.model import Exchange
from otel_ebpf.correlation.usual import Usual
from otel_ebpf.events import layout
from otel_ebpf.events.decode import Decoder, record_at
from otel_ebpf.events.frames import Burst, ProcessFrame, Watermark
from otel_ebpf.events.order import Orderer
from otel_ebpf.events.reading import CaptureReader
from otel_ebpf.protocols.base import EGRESS, INGRESS
from tests.unit.correlation.world import TRACEPARENT, get, post, reply
from tests.unit.events.records import burst, pack

CAPTURES = sorted((Path(__file__).resolve().parents[2] / "captures").glob("*.cap.gz"))
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


class Ways:
    """The same records for two correlators: one behind ``Usual``, one alone."""

    def __init__(self) -> None:
        self.general, self.special = Correlator(Ids(7)), Correlator(Ids(7))
        self.usual = Usual(self.special)
        self.out: tuple[list[Exchange], list[Exchange]] = ([], [])

    def feed(self, records: Sequence[bytes]) -> None:
        places, _ = Decoder().locate(burst(records))
        self.out[0].extend(self.general.feed([record_at(d, at) for _, _, d, at in places]))
        self.out[1].extend(self.usual.feed(places))

    def tick(self, now: int) -> None:
        self.out[0].extend(self.general.tick(now))
        self.out[1].extend(self.special.tick(now))

    def check(self) -> None:
        """The end: nothing that anybody can see may differ."""
        self.out[0].extend(self.general.flush())
        self.out[1].extend(self.special.flush())
        assert [told(x) for x in self.out[1]] == [told(x) for x in self.out[0]]
        assert self.special.stats() == self.general.stats()


def told(x: Exchange) -> dict[str, Any]:
    """All of an exchange."""
    members = {name: getattr(x, name) for name in Exchange.__slots__}
    for name in ("request", "response"):
        head = members[name]
        if head is not None and not hasattr(head, "version"):  # of a database's call
            members[name] = {key: getattr(head, key) for key in head.__slots__}
        elif head is not None:
            shown = {"method": None, "target": None, "status": None}
            members[name] = {key: getattr(head, key, None) for key in shown} | {
                "version": head.version,
                "head": getattr(head, "head", None)
                or getattr(getattr(head, "block", None), "fields", None),
            }
    return members


@dataclass
class Talk:
    """One connection of two processes, both traced or the server alone."""

    number: int
    both: bool
    local: bool
    secure: bool = False
    uid: int = 0
    moved: list[int] = field(default_factory=lambda: [4_294_967_000, 0])

    def move(
        self, now: int, client: bool, data: bytes, *, lost: int = 0, cut: int | None = None,
        uid: int | None = None, **members: Any,
    ) -> list[bytes]:  # fmt: skip
        """Bytes from the client to the server, or back, as their processes see them."""
        begins = layout.NOTHING
        if data.startswith((b"GET ", b"POST ", b"HEAD ", b"CONNECT ")):
            begins = layout.REQUEST
            self.uid += 1
        elif data.startswith(b"HTTP/1."):
            begins = layout.INTERIM if data[9:10] == b"1" else layout.RESPONSE
        elif len(data) == 1:
            begins = layout.MAYBE
        seq = self.moved[client] + lost & 0xFFFFFFFF
        self.moved[client] = seq + len(data) & 0xFFFFFFFF
        made = []
        for server in (not client, client) if self.both else (True,):
            shown = data if cut is None else data[:cut]
            values = {
                "ts": now + 10 * (server == client),
                "direction": EGRESS if server != client else INGRESS,
                "socket_id": self.number * 2 + server,
                "role": layout.ROLE_SERVER if server else layout.ROLE_CLIENT,
                "protocol": 20,
                "begins": begins,
                "tgid": 10 + server,
                "tid": 20 + self.number % 2,
                "length": len(data),
                "tcp_seq": seq,
                "uid": (self.uid if uid is None else uid) * 4 + server + self.number * 1000,
                "peer_addr": bytes((127, 0, 0, 1)) if self.local else bytes((10, 0, 0, 1)),
                "local_port": 8080 if server else 40_000 + self.number,
                "peer_port": 40_000 + self.number if server else 8080,
                **(self.tls(server != client, seq, len(data)) if self.secure else {}),
                **members,
            }
            values["end_ts"] = values["ts"] + 3
            made.append(pack(shown, **values))
        return made

    def tls(self, leaves: bool, seq: int, length: int) -> dict[str, int]:
        """Members of what passed through TLS, in a record of its own; now and then its place is
        not known."""
        end, how = seq + length + 27 & 0xFFFFFFFF, seq % 7
        call = layout.CALL_TLS_WRITE if leaves else layout.CALL_TLS_READ
        told = {"syscall": call | layout.TLS_WHOLE, "fd": 3}
        if how == 1 and leaves:  # when its context was made is told, too
            return {**told, "ref_ts": 123_456_789, "fd": end}
        return {**told, "ref_ts": 1 << 63 | end << 31 | length << 16 if how else 0}

    def tell(self, now: int, server: bool, kind: int, **members: Any) -> list[bytes]:
        """What is no data."""
        values = {"ts": now, "socket_id": self.number * 2 + server, "tgid": 10 + server}
        return [pack(type=kind, **{**values, **members})]


def pieces(*data: bytes, client: bool) -> Callable[[Talk, int], list[list[bytes]]]:
    return lambda talk, now: [talk.move(now + n, client, d) for n, d in enumerate(data)]


def odd(client: bool, data: bytes, **how: Any) -> Callable[[Talk, int], list[list[bytes]]]:
    return lambda talk, now: [talk.move(now, client, data, **how)]


def other(server: bool, kind: int, **members: Any) -> Callable[[Talk, int], list[list[bytes]]]:
    return lambda talk, now: [talk.tell(now, server, kind, **members)]


CAUSE = {"rule": layout.RULE_THREAD, "parent_uid": 5}
STEPS: dict[str, Callable[[Talk, int], list[list[bytes]]]] = {
    "get": pieces(get("/a"), client=True),
    "get with a context": pieces(get("/c", TRACEPARENT), client=True),
    "get with a cause": odd(True, get("/d"), **CAUSE),
    "post": pieces(post("/p", b"x" * 20), client=True),
    "post, not all captured": odd(True, post("/p", b"x" * 20), cut=70),
    "post in two": pieces(post("/p", b"x")[:-1], b"x", client=True),
    "head": pieces(b"HEAD /h HTTP/1.1\r\n\r\n", client=True),
    "connect": pieces(b"CONNECT a:1 HTTP/1.1\r\n\r\n", client=True),
    "first byte alone": pieces(b"G", get("/g")[1:], client=True),
    "two at once": pieces(get("/1") + get("/2"), client=True),
    "request after a loss": odd(True, get("/l"), lost=7),
    "request again": odd(True, get("/l"), lost=-7),
    "ok": pieces(reply(), client=False),
    "ok, empty": pieces(reply(200, b""), client=False),
    "ok, not all captured": odd(False, reply(200, b"x" * 100), cut=50),
    "ok in two": pieces(reply()[:-1], b"k", client=False),
    "ok, chunked": pieces(CHUNKED, client=False),
    "ok, chunked in two": pieces(CHUNKED[:-5], CHUNKED[-5:], client=False),
    "ok until the end": pieces(b"HTTP/1.1 200 OK\r\n\r\nabc", client=False),
    "failed": pieces(reply(500), client=False),
    "nothing to tell": pieces(b"HTTP/1.1 204 No Content\r\n\r\n", client=False),
    "go on": pieces(b"HTTP/1.1 100 Continue\r\n\r\n", client=False),
    "another protocol": pieces(
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", client=False
    ),
    "response after a loss": odd(False, reply(), lost=9),
    "response to another": odd(False, reply(), uid=99),
    "response to none": odd(False, reply(), uid=0),
    "noise": pieces(b"\x00\x01\x02\x03", client=False),
    "closed": other(True, layout.CLOSE),
    "client closed": other(False, layout.CLOSE),
    "client done": other(
        True, layout.EOF, direction=INGRESS, role=layout.ROLE_SERVER
    ),
    "server done": other(False, layout.EOF, direction=INGRESS, role=layout.ROLE_CLIENT),
    "reset": other(True, layout.ERROR, length=104),
    "late correction": other(True, layout.CORRECTION, direction=EGRESS, length=3),
    "server process ended": other(True, layout.EXIT),
}  # fmt: skip
ODD = sorted(set(STEPS) - {"get", "ok"})


def play(ways: Ways, talks: list[Talk], steps: Sequence[tuple[int, str]]) -> None:
    now = 1_000_000_000
    for number, name in steps:
        now += 1000
        if name == "wait":
            now += 400_000_000
            ways.tick(now)
            continue
        for records in STEPS[name](talks[number % len(talks)], now):
            now += 100
            ways.feed(records)
    ways.check()


def world(both: bool, local: bool, secure: bool = False) -> tuple[Ways, list[Talk]]:
    return Ways(), [Talk(number, both, local, secure) for number in (1, 2)]


@pytest.mark.parametrize("name", [*ODD, "wait"])
@pytest.mark.parametrize("both", [False, True], ids=["server", "both"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_each_oddity_between_and_inside_usual_exchanges(
    name: str, both: bool, secure: bool
) -> None:
    usual = [(0, "get"), (0, "ok")] * 2
    odd_one = [(0, name)]
    for around in (usual + odd_one + usual, [*usual, (0, "get"), *odd_one, *usual[1:], *usual]):
        play(*world(both, True, secure), around)


@settings(max_examples=200, deadline=None)
@given(
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.one_of(st.sampled_from(["get", "ok"]), st.sampled_from([*ODD, "wait"])),
        ),
        min_size=5,
        max_size=40,
    ),
)
def test_any_traffic(both: bool, local: bool, secure: bool, steps: list[tuple[int, str]]) -> None:
    usual = [(number, name) for name in ("get", "ok") * 2 for number in (0, 1)]
    play(*world(both, local, secure), usual + steps + usual)


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name.split(".")[0])
def test_recorded_traffic(path: Path) -> None:
    ways = Ways()
    decoder, orderer = Decoder(), Orderer()
    with CaptureReader(path) as reader:
        for frame in reader:
            if isinstance(frame, Burst):
                orderer.feed(*decoder.locate(frame.data))
            elif isinstance(frame, Watermark):
                places = orderer.advance(frame.time)
                ways.out[0].extend(
                    ways.general.feed([record_at(data, at) for _, _, data, at in places])
                )
                ways.out[1].extend(ways.usual.feed(places))
                ways.tick(frame.time)
            elif isinstance(frame, ProcessFrame) and frame.fields.get("go"):
                ways.general.go_process(frame.fields["pid"])
                ways.special.go_process(frame.fields["pid"])
    ways.check()
    assert len(ways.out[0]) >= 10


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_usual_exchanges_do_pass_the_parser_by(secure: bool) -> None:
    ways, talks = world(True, True, secure)
    for _ in range(3):
        for name in ("get", "ok"):
            for records in STEPS[name](talks[0], 1_000_000_000):
                ways.feed(records)
    assert {c.turn for c in ways.special.connections.values()} == {1}
    assert {c.turn for c in ways.general.connections.values()} == {0}
