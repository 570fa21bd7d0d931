"""What receivers answer beyond yes and no. The messages' classes load when one comes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any


def partial_success(response: bytes) -> tuple[int, str]:
    """Rejected spans and the message of an ExportTraceServiceResponse; mostly (0, "")."""
    if not response:
        return 0, ""
    message = _parse(
        "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
        "ExportTraceServiceResponse",
        response,
    )
    if message is None:
        return 0, "the answer is not an ExportTraceServiceResponse"
    partial = message.partial_success
    return int(partial.rejected_spans), str(partial.error_message)


def retry_delay(trailers: Mapping[str, str | bytes]) -> float | None:
    """Seconds of the RetryInfo in a gRPC call's trailing metadata, or None.

    Receivers put it into ``grpc-status-details-bin``; some, alone, into a trailer.
    """
    alone = trailers.get("google.rpc.retryinfo-bin")
    if isinstance(alone, bytes):
        return _seconds(_parse(_DETAILS, "RetryInfo", alone))
    details = trailers.get("grpc-status-details-bin")
    if isinstance(details, bytes):
        status = _parse(_STATUS, "Status", details)
        for detail in status.details if status is not None else ():
            if detail.type_url.endswith("/google.rpc.RetryInfo"):
                return _seconds(_parse(_DETAILS, "RetryInfo", detail.value))
    return None


def status_message(body: bytes) -> str:
    """The text of a ``google.rpc.Status`` in an OTLP/HTTP error's body, else the body's."""
    status = _parse(_STATUS, "Status", body)
    return str(status.message) if status is not None else body.decode("utf-8", "replace")


_DETAILS = "google.rpc.error_details_pb2"
_STATUS = "google.rpc.status_pb2"


def _parse(module: str, name: str, data: bytes) -> Any:
    """The message, or None when ``data`` is none of that type."""
    decode_error = importlib.import_module("google.protobuf.message").DecodeError
    message = getattr(importlib.import_module(module), name)()
    try:
        message.ParseFromString(data)
    except decode_error:
        return None
    return message


def _seconds(info: Any) -> float | None:
    if info is None:
        return None
    return float(info.retry_delay.seconds) + float(info.retry_delay.nanos) / 1e9
