"""The keys of ``otel-ebpf.yaml``, their types, and the variables and flags that say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

from otel_ebpf.protocols.registry import PROTOCOLS


def _says(variable: str, default: str = "", flag: str = "", secret: bool = False) -> Meta:
    """What stands for a key elsewhere. ``default`` is what holds where nobody says anything."""
    said = {"variable": variable, "default": default, "flag": flag, "secret": secret}
    return Meta(extra=said)


class Section(Struct, kw_only=True, forbid_unknown_fields=True):
    """A mapping in the file; keys that nobody knows are errors."""


class Select(Section):
    """What to trace; everything where nothing is chosen."""

    pid: Annotated[list[int] | None, _says("OTEL_EBPF_TARGET_PID", flag="--pid")] = None
    exe: Annotated[list[str] | None, _says("OTEL_EBPF_AUTO_TARGET_EXE", flag="--exe")] = None
    port: Annotated[list[int | str] | None, _says("OTEL_EBPF_OPEN_PORT", flag="--port")] = None


class Go(Section):
    """Go programs."""

    identity: Annotated[
        str | None,
        _says("OTEL_EBPF_GO_IDENTITY", "auto", "--go-identity"),
    ] = None
    http2: Annotated[str | None, _says("OTEL_EBPF_GO_HTTP2", "passive", "--go-http2")] = None


class Tls(Section):
    """Programs that encrypt."""

    openssl: Annotated[bool | str | None, _says("OTEL_EBPF_OPENSSL", "on", "--openssl")] = (
        None  # YAML's `off` is a truth value
    )


class Capture(Section):
    """What the kernel half keeps."""

    bytes: Annotated[int | None, _says("OTEL_EBPF_CAPTURE_BYTES", "1024", "--capture-bytes")] = None


class Spans(Section):
    """What a span holds."""

    value_length_limit: Annotated[
        int | None, _says("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "4096")
    ] = None
    db_statement: Annotated[
        str | bool | None, _says("OTEL_EBPF_DB_STATEMENT", "sanitized", "--db-statement")
    ] = None  # YAML's `off` is a truth value
    internal_calls: Annotated[
        bool | None, _says("OTEL_EBPF_INTERNAL_CALLS", "off", "--internal-calls")
    ] = None


class Sampling(Section):
    """Which traces are kept."""

    sampler: Annotated[str | None, _says("OTEL_TRACES_SAMPLER", "parentbased_always_on")] = None
    arg: Annotated[float | None, _says("OTEL_TRACES_SAMPLER_ARG")] = None


class Queue(Section):
    """Spans that wait for the exporter."""

    max_size: Annotated[int | None, _says("OTEL_BSP_MAX_QUEUE_SIZE", "65536")] = None
    max_batch: Annotated[int | None, _says("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096")] = None
    delay_ms: Annotated[int | None, _says("OTEL_BSP_SCHEDULE_DELAY", "1000")] = None


_OTLP = "OTEL_EXPORTER_OTLP_"


class Export(Section):
    """Where spans go."""

    output: Annotated[
        str | None,
        _says("OTEL_EBPF_OUTPUT", "auto", "--output"),
    ] = None
    exporter: Annotated[str | None, _says("OTEL_TRACES_EXPORTER")] = None
    endpoint: Annotated[str | None, _says(_OTLP + "ENDPOINT")] = None
    protocol: Annotated[str | None, _says(_OTLP + "PROTOCOL", "grpc")] = None
    headers: Annotated[dict[str, str] | None, _says(_OTLP + "HEADERS", secret=True)] = None
    timeout_ms: Annotated[int | None, _says(_OTLP + "TIMEOUT", "10000")] = None
    compression: Annotated[str | None, _says(_OTLP + "COMPRESSION", "none")] = None
    insecure: Annotated[bool | None, _says(_OTLP + "INSECURE")] = None
    certificate: Annotated[str | None, _says(_OTLP + "CERTIFICATE")] = None
    client_key: Annotated[str | None, _says(_OTLP + "CLIENT_KEY")] = None
    client_certificate: Annotated[str | None, _says(_OTLP + "CLIENT_CERTIFICATE")] = None
    queue: Queue | None = None


class Protocol(Section):
    """One protocol."""

    enabled: bool = True


_HEADERS = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_"


class Http(Protocol):
    """HTTP, whatever its version."""

    known_methods: Annotated[list[str] | None, _says("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS")] = (
        None
    )
    server_request_headers: Annotated[list[str] | None, _says(_HEADERS + "SERVER_REQUEST")] = None
    server_response_headers: Annotated[list[str] | None, _says(_HEADERS + "SERVER_RESPONSE")] = None
    client_request_headers: Annotated[list[str] | None, _says(_HEADERS + "CLIENT_REQUEST")] = None
    client_response_headers: Annotated[list[str] | None, _says(_HEADERS + "CLIENT_RESPONSE")] = None


_OWN: dict[str, type[Protocol]] = {"http": Http}
"""Protocols with settings of their own; all others can be turned off."""

if TYPE_CHECKING:

    class Protocols(Section):
        """A section for each protocol of the registry."""

else:
    Protocols = msgspec.defstruct(
        "Protocols",
        [(p.name, _OWN.get(p.name, Protocol) | None, None) for p in PROTOCOLS],
        bases=(Section,),
        namespace={"__doc__": "A section for each protocol of the registry."},
        module=__name__,
        kw_only=True,
        forbid_unknown_fields=True,
    )


class Document(Section):
    """The whole file."""

    select: Select | None = None
    go: Go | None = None
    tls: Tls | None = None
    capture: Capture | None = None
    protocols: Protocols | None = None
    spans: Spans | None = None
    sampling: Sampling | None = None
    export: Export | None = None
    resource: Annotated[dict[str, str] | None, _says("OTEL_RESOURCE_ATTRIBUTES", secret=True)] = (
        None
    )
    log_level: Annotated[
        str | None,
        _says("OTEL_EBPF_LOG_LEVEL", "warn"),
    ] = None
    run_dir: Annotated[str | None, _says("OTEL_EBPF_RUN_DIR", "/run/otel-ebpf")] = None
