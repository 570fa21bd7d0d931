"""OTLP over HTTP with protobuf bodies, on one kept connection.

The standard library's client: it needs a third of the memory of the usual packages,
and this is one POST to one address.
"""

from __future__ import annotations

import contextlib
import email.utils
import gzip
import http.client
import socket
import ssl
import threading
import time
from urllib.parse import unquote, urlsplit

from otel_ebpf.errors import UsageError
from otel_ebpf.export.otlp import USER_AGENT, OtlpExporter, Outcome, Reply
from otel_ebpf.export.otlp_reply import partial_success, status_message
from otel_ebpf.export.otlp_settings import OtlpSettings

_RETRYABLE = frozenset({429, 502, 503, 504})
_LARGEST_ANSWER = 65536
_PROTOBUF = "application/x-protobuf"


class HttpTransport:
    """One connection to one URL. ``send`` is for one thread, ``abort`` for any."""

    def __init__(self, settings: OtlpSettings) -> None:
        url = urlsplit(settings.endpoint)
        self._host = url.hostname or ""
        self._port = url.port
        self._path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self.where = f"OTLP/HTTP endpoint {url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"
        self._timeout = settings.timeout
        self._gzip = settings.gzip
        self._headers = {"user-agent": USER_AGENT, "content-type": _PROTOBUF}
        if settings.gzip:
            self._headers["content-encoding"] = "gzip"
        if url.username is not None:
            import base64

            pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
            self._headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        self._headers.update(settings.headers)
        self._tls = _tls_context(settings) if settings.secure else None
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._sending = False
        self._aborted = False

    def send(self, body: bytes) -> Reply:
        """POST the body and read the answer."""
        if self._gzip:
            # Level 1: spans repeat so much that more effort gains little.
            body = gzip.compress(body, 1, mtime=0)
        with self._lock:
            self._sending = True
            reused = self._connection is not None
        try:
            try:
                return self._post(body)
            except ConnectionError:
                # A kept connection may have been closed meanwhile; that is no failure yet.
                if not reused or self._aborted:
                    raise
                self._drop()
                return self._post(body)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            detail = str(error) or type(error).__name__
            return Reply(Outcome.RETRY, reason="connection", detail=detail)
        finally:
            with self._lock:
                self._sending = False
            if self._aborted:
                self._drop()

    def abort(self) -> None:
        """Cut the connection; a waiting ``send`` returns at once."""
        with self._lock:
            self._aborted = True
            sending = self._sending
            sock = self._connection.sock if self._connection is not None else None
            if sending and sock is not None:
                # Wakes the thread that reads; closing is for that thread to do.
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        if not sending:
            self._drop()

    def _post(self, body: bytes) -> Reply:
        connection = self._open()
        connection.request("POST", self._path, body, self._headers)
        response = connection.getresponse()
        answer = response.read(_LARGEST_ANSWER)
        if response.will_close or not response.isclosed():
            self._drop()
        status = response.status
        if 200 <= status < 300:
            is_protobuf = response.headers.get_content_type() == _PROTOBUF
            rejected, message = partial_success(answer) if is_protobuf else (0, "")
            return Reply(Outcome.ACCEPTED, rejected=rejected, detail=message)
        reason = f"http_{status}"
        detail = f"HTTP {status} {response.reason}"
        if answer:
            is_protobuf = response.headers.get_content_type() == _PROTOBUF
            text = status_message(answer) if is_protobuf else answer.decode("utf-8", "replace")
            detail = f"{detail}: {text.strip()}"
        if status in _RETRYABLE:
            pause = _retry_after(response.headers.get("retry-after"))
            return Reply(Outcome.RETRY, reason=reason, detail=detail, pause=pause)
        if status == 413:
            return Reply(Outcome.TOO_LARGE, reason="too_large", detail=detail)
        return Reply(Outcome.REFUSED, reason=reason, detail=detail)

    def _open(self) -> http.client.HTTPConnection:
        with self._lock:
            if self._aborted:
                raise ConnectionAbortedError("shutting down")
            if self._connection is None:
                if self._tls is not None:
                    self._connection = http.client.HTTPSConnection(
                        self._host, self._port, timeout=self._timeout, context=self._tls
                    )
                else:
                    self._connection = http.client.HTTPConnection(
                        self._host, self._port, timeout=self._timeout
                    )
            return self._connection

    def _drop(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header in either of its forms."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _tls_context(settings: OtlpSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.certificate or None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"is no certificate authority's PEM file: {error}",
            where=settings.certificate,
            mend="set OTEL_EXPORTER_OTLP_CERTIFICATE to a PEM file",
        ) from None
    if settings.client_certificate:
        try:
            context.load_cert_chain(settings.client_certificate, settings.client_key)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"and {settings.client_key} are no pair of certificate and key: {error}",
                where=settings.client_certificate,
                mend="set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and _CLIENT_KEY to a pair",
            ) from None
    return context


class OtlpHttpExporter(OtlpExporter):
    """Exports by OTLP/HTTP."""

    def __init__(self, settings: OtlpSettings, *, first_pause: float = 0.5) -> None:
        super().__init__(HttpTransport(settings), first_pause=first_pause)
