"""A real OpenTelemetry Collector for a test: start, send to it, read back what it received."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict

_ROOT = Path(__file__).resolve().parents[2]
_CONFIGS = _ROOT / "collector-config"


class ReadSpan(TypedDict):
    """One span as the Collector wrote it, in OTLP's terms and numbers.

    Ids are lower-case hex (32, 16 and 16 or 0 digits), times nanoseconds since the epoch,
    ``kind`` and ``status`` OTLP's numbers; attribute values are plain Python values, ``links``
    trace ids.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: int
    start: int
    end: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope: str
    status: int
    status_message: str
    flags: int
    trace_state: str
    links: list[str]


def build_collector() -> Path:
    """Path of the Collector's binary; built first when the cache has none (two minutes)."""
    script = _ROOT / "scripts" / "build-collector"
    done = subprocess.run([script], stdout=subprocess.PIPE, text=True, check=True, timeout=900)
    return Path(done.stdout.strip())


def free_ports(count: int) -> list[int]:
    """Loopback TCP ports that nobody listens on now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Collector:
    """A Collector with OTLP receivers on free loopback ports and a file behind them.

    Args:
        binary: what :func:`build_collector` returned.
        folder: a folder of the test's own; holds the spans and the Collector's log.
        config: which of collector-config/; only ``file.yaml`` keeps spans to read back.
        env: more variables for that configuration.

    ``stop`` and ``start`` may alternate: the ports and the spans so far stay.
    """

    def __init__(
        self,
        binary: Path,
        folder: Path,
        *,
        config: str = "file.yaml",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.binary = binary
        self.config = _CONFIGS / config
        self._env = dict(env or {})
        self.file = folder / "spans.jsonl"
        self.log = folder / "collector.log"
        self.grpc_port, self.http_port, self._health_port = free_ports(3)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def grpc_endpoint(self) -> str:
        """For OTEL_EXPORTER_OTLP_ENDPOINT with OTEL_EXPORTER_OTLP_PROTOCOL=grpc."""
        return f"http://127.0.0.1:{self.grpc_port}"

    @property
    def http_endpoint(self) -> str:
        """For OTEL_EXPORTER_OTLP_ENDPOINT with OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def pid(self) -> int:
        """The running Collector's process id."""
        assert self._process is not None, "the Collector is not running"
        return self._process.pid

    def start(self, timeout: float = 30.0) -> None:
        """Start it and wait until its health check says that the pipeline is up."""
        assert self._process is None, "the Collector is already running"
        environment = {
            **os.environ,
            **self._env,
            "OTLP_GRPC_ENDPOINT": f"127.0.0.1:{self.grpc_port}",
            "OTLP_HTTP_ENDPOINT": f"127.0.0.1:{self.http_port}",
            "HEALTH_ENDPOINT": f"127.0.0.1:{self._health_port}",
            "OTLP_FILE": str(self.file),
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.binary, "--config", self.config],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._poll(self._healthy, timeout, "did not become healthy")

    def stop(self, timeout: float = 10.0) -> None:
        """End it in good order (what it has received is in the file then)."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Collector:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def spans(self) -> list[ReadSpan]:
        """Every span received so far, in the order of arrival."""
        if not self.file.exists():
            return []
        # A line without its end is still being written.
        lines = self.file.read_bytes().split(b"\n")[:-1]
        return [span for line in lines if line for span in parse_otlp_json(line)]

    def wait_spans(
        self, enough: int | Callable[[list[ReadSpan]], bool], timeout: float = 15.0
    ) -> list[ReadSpan]:
        """The spans received, once there are ``enough`` of them (a number or a condition)."""
        found: list[ReadSpan] = []

        def seen() -> bool:
            found[:] = self.spans()
            return len(found) >= enough if isinstance(enough, int) else enough(found)

        self._poll(seen, timeout, lambda: f"has {len(found)} spans, not what was waited for")
        return found

    def _healthy(self) -> bool:
        url = f"http://127.0.0.1:{self._health_port}/"
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _poll(
        self, condition: Callable[[], bool], timeout: float, otherwise: str | Callable[[], str]
    ) -> None:
        """The Collector signals nothing, neither readiness nor arrival: look again and again."""
        deadline = time.monotonic() + timeout
        while not condition():
            ended = self._process is not None and self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                what = otherwise if isinstance(otherwise, str) else otherwise()
                log = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
                raise AssertionError(f"the Collector {'ended' if ended else what}; its log:\n{log}")
            time.sleep(0.02)


def parse_otlp_json(line: bytes | str) -> Iterator[ReadSpan]:
    """The spans of one OTLP/JSON trace export request."""
    for group in json.loads(line).get("resourceSpans", []):
        resource = _attributes(group.get("resource", {}))
        for scoped in group.get("scopeSpans", []):
            scope = scoped.get("scope", {}).get("name", "")
            for span in scoped.get("spans", []):
                status = span.get("status", {})
                yield ReadSpan(
                    trace_id=span["traceId"],
                    span_id=span["spanId"],
                    parent_span_id=span.get("parentSpanId", ""),
                    name=span["name"],
                    kind=span.get("kind", 0),
                    start=int(span["startTimeUnixNano"]),
                    end=int(span["endTimeUnixNano"]),
                    attributes=_attributes(span),
                    resource=resource,
                    scope=scope,
                    status=status.get("code", 0),
                    status_message=status.get("message", ""),
                    flags=span.get("flags", 0),
                    trace_state=span.get("traceState", ""),
                    links=[link["traceId"] for link in span.get("links", [])],
                )


def _attributes(holder: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: _value(each.get("value", {})) for each in holder.get("attributes", [])}


def _value(value: dict[str, Any]) -> Any:
    """A plain Python value of OTLP's AnyValue; 64-bit integers are strings in its JSON."""
    for kind, inner in value.items():
        if kind == "intValue":
            return int(inner)
        if kind == "arrayValue":
            return [_value(each) for each in inner.get("values", [])]
        if kind == "kvlistValue":
            return {each["key"]: _value(each["value"]) for each in inner.get("values", [])}
        return inner
    return None
