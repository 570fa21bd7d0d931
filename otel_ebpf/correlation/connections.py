"""The connections that are followed: which kind each is, and when it is another."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from cachetools import LRUCache

from otel_ebpf.correlation.connection import Connection
from otel_ebpf.correlation.conversation import Conversation
from otel_ebpf.correlation.paired import PairedConnection
from otel_ebpf.correlation.streams import StreamConnection
from otel_ebpf.correlation.websocket import WebSocketConnection
from otel_ebpf.events.decode import Record
from otel_ebpf.protocols import base, registry
from otel_ebpf.protocols.base import Parser
from otel_ebpf.protocols.descriptor import Descriptor

if TYPE_CHECKING:
    from otel_ebpf.correlation.correlator import Correlator

MAX_CONNECTIONS = 131_072
MAX_EARLY, MAX_EARLY_CONNECTIONS = 32, 1024
"""Header blocks told before their connection, and connections that have such."""
MAX_BEFORE_TLS = 1024
"""Connections that have turned to TLS, and whose plaintext has not come yet."""


class Connections:
    """All of one correlator's, bounded.

    Attributes:
        by_socket: the kernel half's number of a socket -> its conversation.
    """

    def __init__(self, owner: Correlator) -> None:
        self.by_socket: dict[int, Conversation] = {}
        self._owner = owner
        self._of_process: defaultdict[int, set[int]] = defaultdict(set)
        self._early_headers: LRUCache[int, list[Record]] = LRUCache(MAX_EARLY_CONNECTIONS)
        self._before_tls: LRUCache[int, Parser] = LRUCache(MAX_BEFORE_TLS)

    def open(self, record: Record) -> Conversation:
        """The first record of a socket. The oldest one is let go where there are too many."""
        connection = Connection(record)
        self.by_socket[record.socket_id] = connection
        self._of_process[record.tgid].add(record.socket_id)
        if len(self.by_socket) > MAX_CONNECTIONS:
            self._owner.counts["connections_forgotten"] += 1
            self.close(next(iter(self.by_socket)), self._owner.now, None)
        return connection

    def speak(self, connection: Conversation, record: Record) -> Conversation | None:
        """The kernel has recognised what a connection speaks, or that it speaks anew. None: nothing
        that is known, or nothing yet."""
        owner = self._owner
        descriptor = registry.by_number.get(record.protocol)
        if descriptor is None:
            owner.counts["segments_of_unknown_protocol"] += 1
            return None
        before = connection
        if descriptor.follows:
            return self._go_on(before, descriptor, record)
        if before.parser is not None or descriptor.multiplexed or descriptor.pairs:
            if descriptor.pairs:
                unknown = before.unknown if isinstance(before, Connection) else []
                connection = PairedConnection(record, unknown)
            else:
                connection = (StreamConnection if descriptor.multiplexed else Connection)(record)
            self.by_socket[record.socket_id] = connection
            connection.opener = before.opener
            connection.upgraded = before.parser is not None
        connection.speak(descriptor)
        if isinstance(connection, PairedConnection):
            connection.follow(self._before_tls.pop(record.socket_id, None))
        if isinstance(connection, StreamConnection):
            for early in self._early_headers.pop(record.socket_id, ()):
                connection.told(early, owner)
        if before.parser is not None and before is not connection:
            if isinstance(connection, StreamConnection):
                asked = before.upgrading()
                if asked is not None:
                    connection.adopt(asked)
            before.end(record.ts, None, owner)
        return connection

    def _go_on(
        self, before: Conversation, descriptor: Descriptor, record: Record
    ) -> Conversation | None:
        """A connection goes on with what HTTP/1 has agreed upon, if that is what it was."""
        owner = self._owner
        upgrade = before.upgrade if isinstance(before, Connection) else None
        if upgrade is None:
            if before.parser is None or not before.parser.upgraded:
                owner.counts["segments_of_unknown_protocol"] += 1
            return None
        connection = WebSocketConnection(record)
        self.by_socket[record.socket_id] = connection
        connection.opener = before.opener
        connection.upgraded = True
        connection.speak(descriptor)
        before.end(record.ts, None, owner)
        connection.adopt(upgrade, owner)
        return connection

    def close(self, socket_id: int, ts: int, error: str | None) -> None:
        """It is closed, or let go; what is open on it ends with ``error``, if that is anything."""
        owner = self._owner
        connection = self.by_socket.pop(socket_id, None)
        if connection is None:
            return
        if connection.parser is not None and connection.parser.upgraded == base.TLS:
            self._before_tls[socket_id] = connection.parser
        connection.end(ts, error, owner)
        for pid in {connection.opener, connection.pid}:
            if pid in owner.parents.anchors.processes:
                owner.parents.anchors.closed(pid, connection.ends)
            known = self._of_process.get(pid)
            if known is not None:
                known.discard(socket_id)
                if not known:
                    del self._of_process[pid]

    def process_ended(self, pid: int, ts: int) -> None:
        """Its sockets are closed."""
        for socket_id in list(self._of_process.get(pid, ())):
            self.close(socket_id, ts, None)
        self._of_process.pop(pid, None)

    def headers(self, record: Record) -> None:
        """A program tells of a header block, perhaps before its connection's first bytes."""
        connection = self.by_socket.get(record.socket_id)
        if isinstance(connection, StreamConnection):
            connection.told(record, self._owner)
            return
        early = self._early_headers.setdefault(record.socket_id, [])
        if len(early) < MAX_EARLY:
            early.append(record)
