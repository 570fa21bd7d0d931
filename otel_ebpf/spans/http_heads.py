"""What the HTTP span builder uses of parsed heads, and the headers a user asked for."""

from __future__ import annotations

from typing import Any, Protocol

from otel_ebpf.spans import semconv


class HttpHead(Protocol):
    """What is used of a parsed head. ``lower`` is its bytes in lower case, or of them at least
    the names of the headers that are looked for there."""

    version: str
    lower: bytes

    def header(self, name: str) -> str | None: ...
    def headers(self, name: str) -> list[str]: ...


class HttpRequestHead(HttpHead, Protocol):
    """A request's head. ``target`` is as in the request line, or empty where that was not
    seen. ``scheme`` is empty where the head does not say it."""

    method: str
    scheme: str
    target: str


class HttpResponseHead(HttpHead, Protocol):
    """A response's head."""

    status: int


class HeaderCapture:
    """Headers that the user asked for, as ``http.request.header.<name>`` and its like."""

    __slots__ = ("_request", "_response", "any")

    def __init__(self, request: tuple[str, ...], response: tuple[str, ...]) -> None:
        self._request = [(n, f"{semconv.HTTP_REQUEST_HEADER_TEMPLATE}.{n}") for n in request]
        self._response = [(n, f"{semconv.HTTP_RESPONSE_HEADER_TEMPLATE}.{n}") for n in response]
        self.any = bool(request or response)

    def add(
        self,
        attributes: dict[str, Any],
        request: HttpRequestHead,
        response: HttpResponseHead | None,
        limit: int,
    ) -> None:
        """Put the headers that are there onto the span, each as a list of texts."""
        for name, key in self._request:
            values = request.headers(name)
            if values:
                attributes[key] = [value[:limit] for value in values]
        if response is not None:
            for name, key in self._response:
                values = response.headers(name)
                if values:
                    attributes[key] = [value[:limit] for value in values]
