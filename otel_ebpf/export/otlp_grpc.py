"""OTLP over gRPC. Encoded requests go through as they are."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from typing import Any

from otel_ebpf.errors import UsageError
from otel_ebpf.export.otlp import USER_AGENT, OtlpExporter, Outcome, Reply
from otel_ebpf.export.otlp_reply import partial_success, retry_delay
from otel_ebpf.export.otlp_settings import OtlpSettings

_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_RETRYABLE = frozenset(
    {
        "ABORTED",
        "CANCELLED",
        "DATA_LOSS",
        "DEADLINE_EXCEEDED",
        "OUT_OF_RANGE",
        "UNAVAILABLE",
    }
)
_OPTIONS = (
    ("grpc.primary_user_agent", USER_AGENT),
    # gRPC waits up to two minutes before it connects again; a Collector is back sooner.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5000),
    # Connections of its own, so that a new channel is a new connection.
    ("grpc.use_local_subchannel_pool", 1),
)


class GrpcTransport:
    """One channel to one endpoint. ``send`` is for one thread, ``abort`` for any."""

    def __init__(self, settings: OtlpSettings) -> None:
        # Here rather than at the top: loading gRPC takes some 18 MB.
        self._grpc: Any = importlib.import_module("grpc")
        self._settings = settings
        self.where = f"OTLP/gRPC endpoint {settings.endpoint}"
        self._lock = threading.Lock()
        self._call: Any = None
        self._aborted = False
        self._credentials = self._read_credentials() if settings.secure else None
        self._channel: Any = None
        self._connect()

    def send(self, body: bytes) -> Reply:
        """Make the call and wait for its end."""
        with self._lock:
            if self._aborted:
                return Reply(Outcome.RETRY, reason="aborted")
            call = self._call = self._export.future(
                body, timeout=self._settings.timeout, metadata=self._settings.headers
            )
        try:
            response = call.result()
        except self._grpc.FutureCancelledError:
            return Reply(Outcome.RETRY, reason="aborted")
        except self._grpc.RpcError as error:
            return self._failure(error)
        rejected, message = partial_success(response)
        return Reply(Outcome.ACCEPTED, rejected=rejected, detail=message)

    def abort(self) -> None:
        """Cancel the call under way and close the channel."""
        with self._lock:
            self._aborted = True
            if self._call is not None:
                self._call.cancel()
            self._channel.close()

    def _failure(self, error: Any) -> Reply:
        code = error.code().name
        detail = f"{code}: {error.details() or ''}"
        reason = f"grpc_{code.lower()}"
        pause = retry_delay(dict(error.trailing_metadata() or ()))
        if code == "RESOURCE_EXHAUSTED":
            # Only with a delay does the receiver say that trying again may help.
            if pause is not None:
                return Reply(Outcome.RETRY, reason=reason, detail=detail, pause=pause)
            large = "larger than max" in (error.details() or "")
            outcome = Outcome.TOO_LARGE if large else Outcome.REFUSED
            return Reply(outcome, reason="too_large" if large else reason, detail=detail)
        if code not in _RETRYABLE:
            return Reply(Outcome.REFUSED, reason=reason, detail=detail)
        if code == "DEADLINE_EXCEEDED":
            # The peer may be gone without a word; the old connection would never notice.
            self._connect()
        return Reply(Outcome.RETRY, reason=reason, detail=detail, pause=pause)

    def _connect(self) -> None:
        grpc, settings = self._grpc, self._settings
        compression = grpc.Compression.Gzip if settings.gzip else grpc.Compression.NoCompression
        with self._lock:
            if self._aborted:
                return
            if self._channel is not None:
                self._channel.close()
            if self._credentials is not None:
                self._channel = grpc.secure_channel(
                    settings.endpoint, self._credentials, _OPTIONS, compression
                )
            else:
                self._channel = grpc.insecure_channel(settings.endpoint, _OPTIONS, compression)
            self._export = self._channel.unary_unary(_METHOD)

    def _read_credentials(self) -> Any:
        settings = self._settings

        def read(path: str) -> bytes | None:
            if not path:
                return None
            try:
                data = Path(path).read_bytes()
                problem = "" if b"-----BEGIN " in data else "holds no PEM block"
            except OSError as error:
                problem = f"cannot be read: {error.strerror}"
            if problem:
                # gRPC itself would only fail to connect, without a word about the file.
                raise UsageError(problem, where=path, mend="give the path of a PEM file")
            return data

        return self._grpc.ssl_channel_credentials(
            read(settings.certificate), read(settings.client_key), read(settings.client_certificate)
        )


class OtlpGrpcExporter(OtlpExporter):
    """Exports by OTLP/gRPC."""

    def __init__(self, settings: OtlpSettings, *, first_pause: float = 0.5) -> None:
        super().__init__(GrpcTransport(settings), first_pause=first_pause)
