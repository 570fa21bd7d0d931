"""The contract that every protocol parser follows.

A parser belongs to one connection and sees both directions of it, as the traced
process saw them. It does no input or output, reads no clock and starts no thread:
the same bytes always give the same messages. A passive tracer meets gaps,
truncation and connections joined in the middle; those are return values here,
never exceptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from .http2_told import Block, ToldBlocks

INGRESS = 0
"""Direction: bytes that the traced process received."""
EGRESS = 1
"""Direction: bytes that the traced process sent."""

TAIL = 8
"""Most bytes of a segment's end that ``Parser.feed`` is given."""

REQUEST = 1
RESPONSE = 2

COMPRESSED, TLS = "compressed", "tls"
"""``Parser.upgraded`` of a connection whose messages are so from here on."""


class Message:
    """One request or response on a connection.

    A parser returns a message once when it is recognised (its head is known or as
    much of the head as will ever be seen) and, if it was not complete by then, the
    same object again when it completes.

    Attributes:
        kind: ``REQUEST`` or ``RESPONSE``.
        direction: ``INGRESS`` or ``EGRESS``.
        stream: pairing key. 0 when replies come in the order of requests and the
            connection pairs them (HTTP/1); the stream or correlation id, or the parser's
            own number of the request (``PairingParser``), where they do not.
        start: nanoseconds (the feed's clock) of the segment that holds the first byte.
        end: nanoseconds of the segment that holds the last byte so far.
        length: bytes of the message on the wire so far, head and body.
        offset: position of the first byte within the segment ``token``.
        token: what ``feed`` was given for the segment with the first byte. Opaque here.
        last_token: the same for the segment with the latest byte.
        complete: the last byte has been seen (or passed over in a gap of known size).
        truncated: part of the head was not captured; what was seen is kept.
        interim: a response that is followed by another for the same request
            (HTTP 1xx). It completes no request.
        oneway: a request that will have no response.
        error: ``error.type`` when the message ended badly, else None.
        head: the protocol's own parsed head (``HttpRequest``, ``HttpResponse``...).
    """

    __slots__ = (
        "complete",
        "direction",
        "end",
        "error",
        "head",
        "interim",
        "kind",
        "last_token",
        "length",
        "offset",
        "oneway",
        "start",
        "stream",
        "token",
        "truncated",
    )

    def __init__(
        self, kind: int, direction: int, start: int, token: Any, offset: int, head: Any
    ) -> None:
        self.kind = kind
        self.direction = direction
        self.stream = 0
        self.start = start
        self.end = start
        self.length = 0
        self.offset = offset
        self.token = token
        self.last_token = token
        self.complete = False
        self.truncated = False
        self.interim = False
        self.oneway = False
        self.error: str | None = None
        self.head = head


class Datagram(NamedTuple):
    """A message that came alone, without a connection.

    Attributes:
        kind: ``REQUEST`` or ``RESPONSE``.
        number: the id that it shares with its request or response.
        about: what else they share; None: it does not say.
        head: as of ``Message``.
    """

    kind: int
    number: int
    about: Any
    head: Any


class Parser(Protocol):
    """One connection's parser. Bounded: memory does not grow with the traffic."""

    @property
    def desyncs(self) -> int:
        """How often bytes could not be understood and the parser waited for a fresh start."""
        ...

    upgraded: str | None
    """Set once the connection changes protocol (``websocket``, ``h2c``, ``connect``)."""

    @property
    def open_ended(self) -> bool:
        """A message is in progress whose end only a turn, or silence, will show."""
        ...

    def feed(
        self,
        direction: int,
        data: bytes,
        length: int,
        ts: int,
        end_ts: int,
        token: Any,
        tail: bytes = b"",
    ) -> list[Message]:
        """Take one segment and return the messages that it begins or completes.

        ``data`` is the captured prefix of the ``length`` bytes that moved
        (``len(data) <= length``); the rest is a gap of known size at the end.
        ``ts`` and ``end_ts`` are nanoseconds of the first and the last part of the
        segment. A message begun and completed in this segment is returned once.
        ``tail``: the last bytes of the segment (at most ``TAIL``) when ``data`` does not
        reach its end and they are known; the two may overlap.
        """
        ...

    def gap(self, direction: int, ts: int) -> list[Message]:
        """Bytes of unknown number are missing in ``direction`` (records were lost)."""
        ...

    def settle(self, ts: int) -> list[Message]:
        """The connection has been quiet for a while: complete what is ``open_ended``.

        A message that is certain to go on stays in progress. Should one that was completed
        go on all the same, its bytes are a desync and change no message.
        """
        ...

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """The connection ended. Messages in progress complete; ``error`` is its
        ``error.type`` (``connection_reset``...) or None for an orderly end, in
        which case a message that ends with the connection is complete and well."""
        ...


class PairingParser(Parser, Protocol):
    """A parser that knows itself which reply answers which request: databases, queues.

    ``Message.stream`` of a request is a number of its own on this connection, that of a
    response is its request's. A request with ``oneway`` has no response and is over when
    complete; one that is returned with an ``error`` and without a response is over, too.
    Messages that are nobody's answer (pushes) are not returned, nor is anything while it is
    not certain how requests and replies belong together. Heads of requests have ``chatter``,
    those of responses ``error``, as :mod:`.database` has them.
    """

    client: int
    """The direction of requests; -1 until ``begin``."""

    @property
    def in_step(self) -> bool:
        """What passes is understood; else segments are passed over, and counted. A parser that
        does not say is taken for one that always is."""
        ...

    def begin(self, client: int, fresh: bool) -> None:
        """The first bytes follow. ``client``: the direction of requests. ``fresh``: these
        are the connection's first ever; else it may have been joined midway."""
        ...


class StreamParser(Parser, Protocol):
    """A parser of many conversations on one connection, told apart by ``Message.stream``.

    A request that is returned complete, with an ``error`` and without a response, is over.
    """

    client: int
    """The direction of requests; -1 while it is not known."""

    def begin(self, direction: int) -> None:
        """The connection begins: its first bytes from the client pass in ``direction``."""
        ...

    told: ToldBlocks | None
    """What the program has told of header blocks, if it does."""

    def tell(self, direction: int, stream: int, block: Block) -> None:
        """The program itself tells what a header block says."""
        ...

    def untold(self, direction: int, data: bytes, mid: int, start: int) -> list[tuple[int, bool]]:
        """Of the header blocks that end in these frames, of streams that matter, those that were
        not told yet: for each where in ``data`` its last frame begins (0: before it), and whether
        it is one of trailers. Arguments as those of ``frames``."""
        ...

    def adopt(self, request: Message) -> None:
        """A request by which another protocol turned to this one is answered as stream 1."""
        ...

    def frames(
        self,
        direction: int,
        data: bytes,
        mid: int,
        lost: bool,
        start: int,
        length: int,
        ts: int,
        end_ts: int,
        token: Any,
    ) -> list[Message]:
        """Take the frames that the kernel half found in a segment.

        ``data``: each as its place in the stream (4 bytes), its header and its payload, without
        bodies; the first ``mid`` bytes go on with the frame before. ``lost``: frames before
        these were not seen. ``start`` and ``length``: the segment's place in the stream.
        """
        ...
