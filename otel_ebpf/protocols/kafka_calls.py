"""What Produce and Fetch carry, topic by topic."""

from __future__ import annotations

from .kafka_frames import Body, Unseen
from .kafka_records import Records

MAX_TOPICS = 32
"""Topics of one call that are told apart; the rest counts as one without a name."""
MAX_PARTITIONS = 4096
"""Places from which a connection reads that are remembered."""


class Part:
    """What a call carries of one topic.

    Attributes:
        name: of the topic, or "" where ``topic`` is its id.
        place: in the body, where the topic begins.
        partitions: numbers of those that messages belong to, or have an error; two at most.
        records: their messages.
        error: code of the first partition that failed; 0: none.
        offset: that the broker gave the first message; -1: not known.
    """

    __slots__ = ("error", "name", "offset", "partitions", "place", "records", "topic")

    def __init__(self, name: str, topic: bytes, place: int) -> None:
        self.name = name
        self.topic = topic
        self.place = place
        self.partitions: list[int] = []
        self.records = Records()
        self.error = 0
        self.offset = -1

    @property
    def key(self) -> object:
        """What the topic is known by in this version of the call."""
        return self.topic or self.name

    def partition(self, number: int) -> None:
        """One more partition."""
        if len(self.partitions) < 2 and number not in self.partitions:
            self.partitions.append(number)


class Parts:
    """The topics of one call.

    Attributes:
        parts: in order; the last one may be of all the rest.
        whole: all of them were seen.
        acks: of Produce.
        error: of the whole call.
        follower: a broker asks, to replicate.
        unseen: topics that an answer has behind what was captured.
    """

    __slots__ = ("acks", "error", "follower", "parts", "unseen", "whole")

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.whole = True
        self.acks = 1
        self.error = 0
        self.follower = False
        self.unseen = 0

    def begin(self, body: Body, named: bool) -> Part:
        """The part of the topic that ``body`` goes on with."""
        place = body.place
        name, topic = (body.text(), b"") if named else ("", body.take(16))
        if len(self.parts) < MAX_TOPICS:
            self.parts.append(Part(name, topic, place))
        elif len(self.parts) == MAX_TOPICS:
            self.parts.append(Part("", b"", place))
        return self.parts[-1]


def produce_request(body: Body, version: int) -> Parts:
    """Reads a Produce request behind its header."""
    told = Parts()
    try:
        if version >= 3:
            body.pass_text()
        told.acks = body.number(2)
        body.skip(4)
        for _ in range(body.count()):
            part = told.begin(body, version < 13)
            for _ in range(body.count()):
                part.partition(body.number(4))
                length = body.length(4)
                if length > 0:
                    part.records.add(body, length)
                body.tags()
            body.tags()
    except Unseen:
        told.whole = False
    return told


def produce_response(body: Body, version: int) -> Parts:
    """Reads its answer."""
    told = Parts()
    try:
        for _ in range(body.count()):
            part = told.begin(body, version < 13)
            for _ in range(body.count()):
                number = body.number(4)
                error, offset = body.number(2), body.number(8)
                body.skip((version >= 2) * 8 + (version >= 5) * 8)
                if version >= 8:
                    for _ in range(body.count()):
                        body.skip(4)
                        body.pass_text()
                        body.tags()
                    body.pass_text()
                body.tags()
                part.partition(number)
                if error and not part.error:
                    part.error = error
                part.offset = offset
            body.tags()
    except Unseen:
        told.whole = False
    return told


def fetch_request(body: Body, version: int, wanted: dict[tuple[object, int], int]) -> Parts:
    """Reads a Fetch request; ``wanted`` learns where the reader stands in each partition."""
    told = Parts()
    try:
        told.follower = version < 15 and body.number(4) >= 0
        body.skip(8 + (version >= 3) * 4 + (version >= 4))
        if version >= 7:
            body.skip(4)
            if body.number(4) <= 0:  # a session begins, or there is none
                wanted.clear()
        for _ in range(body.count()):
            key: object = body.text() if version < 13 else body.take(16)
            for _ in range(body.count()):
                number = body.number(4)
                body.skip((version >= 9) * 4)
                place = key, number
                if place in wanted or len(wanted) < MAX_PARTITIONS:
                    wanted[place] = body.number(8)
                else:
                    body.skip(8)
                body.skip((version >= 12) * 4 + (version >= 5) * 8 + 4)
                body.tags()
            body.tags()
        if version >= 7:
            for _ in range(body.count()):
                key = body.text() if version < 13 else body.take(16)
                for _ in range(body.count()):
                    wanted.pop((key, body.number(4)), None)
                body.tags()
        if version >= 11:
            body.pass_text()
        if version >= 15:
            told.follower = bool(body.tags() & 2)
    except Unseen:
        told.whole = False
    return told


def fetch_response(body: Body, version: int, wanted: dict[tuple[object, int], int]) -> Parts:
    """Reads its answer: the topics of which there are messages, or errors."""
    told = Parts()
    try:
        body.skip((version >= 1) * 4)
        if version >= 7:
            told.error = body.number(2)
            body.skip(4)
        topics = body.count()
        for number in range(topics):
            told.unseen = topics - number
            part = told.begin(body, version < 13)
            told.unseen -= 1
            for _ in range(body.count()):
                _fetched(body, version, part, wanted)
            body.tags()
    except Unseen:
        told.whole = False
    told.parts = [part for part in told.parts if part.records.bytes or part.error]
    return told


def _fetched(body: Body, version: int, part: Part, wanted: dict[tuple[object, int], int]) -> None:
    """One partition."""
    number, error = body.number(4), body.number(2)
    body.skip(8 + (version >= 4) * 8 + (version >= 5) * 8)
    aborted: dict[int, list[int]] = {}
    if version >= 4:
        for _ in range(body.count()):
            producer, first = body.number(8), body.number(8)
            aborted.setdefault(producer, []).append(first)
            body.tags()
    body.skip((version >= 11) * 4)
    length = body.length(4)
    if error:
        part.error = part.error or error
        part.partition(number)
    if length > 0:
        part.partition(number)
        part.records.add(body, length, wanted.get((part.key, number), 0), aborted)
    body.tags()
