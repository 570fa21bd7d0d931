"""Every protocol, by number and by name. A new one is a module and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import (
    amqp,
    dns,
    dubbo,
    fastcgi,
    http1,
    http2,
    kafka,
    memcached,
    mongodb,
    mqtt,
    mysql,
    nats,
    postgresql,
    redis,
    thrift,
    uwsgi,
    websocket,
)
from .descriptor import Descriptor

PROTOCOLS: tuple[Descriptor, ...] = (
    amqp.PROTOCOL,
    fastcgi.PROTOCOL,
    dns.PROTOCOL,
    dubbo.PROTOCOL,
    http1.PROTOCOL,
    http2.PROTOCOL,
    kafka.PROTOCOL,
    memcached.PROTOCOL,
    mongodb.PROTOCOL,
    mqtt.PROTOCOL,
    mysql.PROTOCOL,
    nats.PROTOCOL,
    postgresql.PROTOCOL,
    redis.PROTOCOL,
    thrift.PROTOCOL,
    uwsgi.PROTOCOL,
    websocket.PROTOCOL,
)

by_number: Mapping[int, Descriptor] = MappingProxyType({p.number: p for p in PROTOCOLS})
by_name: Mapping[str, Descriptor] = MappingProxyType({p.name: p for p in PROTOCOLS})

__all__ = ["PROTOCOLS", "Descriptor", "by_name", "by_number"]
