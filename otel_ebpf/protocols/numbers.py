"""Every protocol's number by its name, for who chooses among them: to import the parsers for
that would keep the kernel half waiting. The registry's, in its order."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NUMBERS: Mapping[str, int] = MappingProxyType(
    {
        "amqp": 102,
        "fastcgi": 44,
        "dns": 120,
        "dubbo": 40,
        "http": 20,
        "http2": 21,
        "kafka": 100,
        "memcached": 82,
        "mongodb": 81,
        "mqtt": 101,
        "mysql": 60,
        "nats": 104,
        "postgresql": 61,
        "redis": 80,
        "thrift": 31,
        "uwsgi": 30,
        "websocket": 22,
    }
)
