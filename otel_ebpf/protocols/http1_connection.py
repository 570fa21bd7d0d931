"""The life of messages on one HTTP/1.x connection: begin, pair with a method, end, hand off."""

from __future__ import annotations

from collections import deque

from .base import EGRESS, INGRESS, REQUEST, RESPONSE, Message
from .http1_body import ChunkedBody
from .http1_half import (
    AT_CHUNKS,
    AT_CLOSE,
    AT_LENGTH,
    AT_START,
    AT_TURN,
    ENDED,
    LOST,
    UPGRADED,
    Half,
)
from .http1_head import BAD_FRAMING, CHUNKED, NO_FRAMING, UNTIL_CLOSE

MAX_OUTSTANDING = 128
"""Most requests remembered while they wait for their responses (pipelining)."""


class Connection:
    """What both directions share. ``http1.Http1Parser`` adds the reading of bytes."""

    __slots__ = (
        "_confirmed",
        "_forgotten",
        "_halves",
        "_last_direction",
        "_outstanding",
        "_pipelines",
        "_stale",
        "desyncs",
        "upgraded",
    )

    def __init__(self) -> None:
        self.desyncs = 0
        self.upgraded: str | None = None
        self._halves = (Half(INGRESS), Half(EGRESS))
        self._last_direction = -1
        self._confirmed = False
        self._outstanding: deque[Message] = deque()
        self._forgotten = 0
        # More than one request was seen to wait at a time.
        self._pipelines = False
        # A response may have been lost: the next request shows whether one was.
        self._stale = False

    # A way past the parser, for messages that are whole in one segment

    def between(self) -> int:
        """The direction of requests, when all messages have ended, every request has its
        response and nothing is in doubt; else -1."""
        ingress, egress = self._halves
        if (
            not self._confirmed
            or self.upgraded is not None
            or self._outstanding
            or self._forgotten
            or self._stale
            or ingress.state != AT_START
            or egress.state != AT_START
            or ingress.gap
            or egress.gap
        ):
            return -1
        return INGRESS if ingress.kind == REQUEST else EGRESS

    def passed_by(self, last_direction: int, unanswered: Message | None) -> None:
        """Whole exchanges went past since ``between``; then, perhaps, a whole request."""
        self._last_direction = last_direction
        if unanswered is not None:
            self._outstanding.append(unanswered)

    # Messages

    def _request(
        self, half: Half, message: Message, framing: int, at_hand: int, out: list[Message]
    ) -> int:
        """A request begins; of ``at_hand`` bytes behind its head, how many are its body.

        0 as well when the body is not wholly at hand: then ``half`` is left inside of it.
        """
        if not self._confirmed:
            self._learn(half, REQUEST)
        other = self._halves[1 - half.direction]
        if other.state == AT_TURN:
            self._finish(other, out)
        if self._stale:
            self._forget_unanswered(other)
        if len(self._outstanding) < MAX_OUTSTANDING and not self._forgotten:
            self._outstanding.append(message)
        else:
            self._forgotten += 1
        out.append(message)
        # Without a length a request has no body (RFC 9112, 6.3).
        if framing == NO_FRAMING or framing == 0:
            message.complete = True
        elif 0 < framing <= at_hand:
            message.length += framing
            message.complete = True
            return framing
        else:
            self._body(half, message, BAD_FRAMING if framing == UNTIL_CLOSE else framing)
        return 0

    def _response(
        self, half: Half, message: Message, framing: int, at_hand: int, out: list[Message]
    ) -> int:
        """A response begins; see ``_request``."""
        if not self._confirmed:
            self._learn(half, RESPONSE)
        status = message.head.status
        if status < 200 and status != 101:
            message.interim = True
            message.complete = True
            out.append(message)
            return 0
        if self._stale:
            self._after_loss()
        method = ""
        if self._outstanding:
            method = self._outstanding.popleft().head.method
            if self._outstanding:
                self._pipelines = True
        elif self._forgotten:
            self._forgotten -= 1
        other = self._halves[1 - half.direction]
        if other.state == AT_TURN:
            self._finish(other, out)
        out.append(message)
        if status == 101 or (method == "CONNECT" and status < 300):
            self._upgrade(message, out)
        elif message.truncated:
            self._body(half, message, BAD_FRAMING)
        elif framing == 0 or method == "HEAD" or status == 204 or status == 304:
            message.complete = True
        elif 0 < framing <= at_hand:
            message.length += framing
            message.complete = True
            return framing
        else:
            self._body(half, message, UNTIL_CLOSE if framing == NO_FRAMING else framing)
        return 0

    def _body(self, half: Half, message: Message, framing: int) -> None:
        half.message = message
        if framing > 0:
            half.state = AT_LENGTH
            half.left = framing
        elif framing == CHUNKED:
            half.state = AT_CHUNKS
            half.chunks = ChunkedBody()
        elif framing == UNTIL_CLOSE:
            half.state = AT_CLOSE
        else:
            half.lose_framing()

    def _finish(self, half: Half, out: list[Message]) -> None:
        """The message in progress has ended; the same object is returned once a call."""
        message = half.message
        half.message = None
        half.chunks = None
        half.state = AT_START
        if message is not None:
            message.complete = True
            if not out or (out[-1] is not message and message not in out):
                out.append(message)

    def _conclude(self, half: Half, out: list[Message]) -> None:
        """All tells that the message has ended, but no framing proves it."""
        self._finish(half, out)
        half.state = ENDED

    def _upgrade(self, response: Message, out: list[Message]) -> None:
        response.complete = True
        head = response.head
        if head.status == 101:
            wanted = str(head.header("upgrade") or "unknown").partition(",")[0].strip().lower()
        else:
            wanted = "connect"
        # The request goes on as HTTP/2's first stream, where its answer comes.
        response.interim = wanted == "h2c"
        self._hand_off(wanted[:32] or "unknown", out)

    def _hand_off(self, protocol: str, out: list[Message]) -> None:
        """HTTP/1 ends here, and with it whatever is in progress."""
        self.upgraded = protocol
        for half in self._halves:
            if half.message is not None:
                self._finish(half, out)
            half.reset()
            half.state = UPGRADED
        self._outstanding.clear()

    # Doubt

    def _desync(self, half: Half) -> None:
        self.desyncs += 1
        half.state = LOST
        if half.kind != REQUEST:
            self._stale = True
        if not self._confirmed:
            half.kind = 0

    def _learn(self, half: Half, kind: int) -> None:
        """Believe the newest head until both directions have shown one of each kind."""
        half.kind = kind
        other = self._halves[1 - half.direction]
        if other.kind == kind:
            other.kind = 0
            self.desyncs += 1
        elif other.kind:
            self._confirmed = True

    def _forget_unanswered(self, responses: Half) -> None:
        """Responses were lost: requests older than this one will have none."""
        if responses.state in (AT_START, LOST, ENDED):
            self._give_up(0)
            self._stale = False

    def _after_loss(self) -> None:
        """A response comes after bytes of this direction were lost: whose is it?

        Without pipelining only the newest request can be waiting. With it nobody can
        tell, and no pair is better than a wrong one.
        """
        self._stale = False
        waiting = self._outstanding
        if len(waiting) > 1:
            together = len({id(request.token) for request in waiting}) < len(waiting)
            self._give_up(0 if together or self._pipelines else 1)

    def _give_up(self, but: int) -> None:
        """No response will come for the requests that wait, ``but`` the newest ones."""
        while len(self._outstanding) > but:
            self._outstanding.popleft().oneway = True
        self._forgotten = 0
