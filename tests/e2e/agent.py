"""The real agent as a child process: start, wait for ``ready``, read spans, stop, ledger."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TRUTH_HEADERS = "x-truth-id,x-truth-parent"
TRUTH_ENV = {
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": TRUTH_HEADERS,
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST": TRUTH_HEADERS,
}
# What a developer's shell may have set and would change what a test sees.
_FOREIGN = ("OTEL_EXPORTER_", "OTEL_TRACES_", "OTEL_EBPF_", "OTEL_RESOURCE_", "OTEL_SERVICE_")

Span = dict[str, Any]


class AgentError(RuntimeError):
    """The agent did not start, did not stop, or stopped badly; with its own words."""


def agent_command() -> list[str]:
    """OTEL_EBPF_COMMAND, else the command beside the running interpreter, else the module."""
    named = os.environ.get("OTEL_EBPF_COMMAND")
    if named:
        return named.split()
    installed = Path(sys.executable).parent / "otel-ebpf"
    if installed.exists():
        return [str(installed)]
    return [sys.executable, "-m", "otel_ebpf.cli"]


def agent_exists() -> bool:
    """Whether there is a command to run at all."""
    return "OTEL_EBPF_COMMAND" in os.environ or (ROOT / "otel_ebpf" / "cli.py").exists()


def parse_ledger(text: str) -> dict[str, int]:
    """Every ``name: number`` (or ``name = number``, ``name  number``) line of ``text``.

    Names keep their words in lower case, joined by ``_``: ``records seen`` is
    ``records_seen``. Thousands separators are taken; a name that comes twice is added up.
    """
    ledger: dict[str, int] = {}
    for line in text.splitlines():
        found = re.match(r"^\s*([A-Za-z][\w .:/()-]*?)\s*(?:[:=]\s*|\s{1,})([\d,_]+)\b", line)
        if found:
            name = re.sub(r"\W+", "_", found[1].strip().lower()).strip("_")
            ledger[name] = ledger.get(name, 0) + int(re.sub(r"[,_]", "", found[2]))
    return ledger


class Agent:
    """``otel-ebpf run`` with ``arguments``; ready when the constructor returns.

    Attributes:
        ready_seconds: from start to the line with ``ready``.
        ledger: numbers printed after the stop (``parse_ledger``); empty until then.
    """

    def __init__(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        pids: Iterable[int] = (),
        output: str = "json",
        keep_output: bool = True,
        command: Sequence[str] | None = None,
        limit_seconds: float = 60.0,
    ) -> None:
        self.ledger: dict[str, int] = {}
        self._changed = threading.Condition()
        self._errors: list[str] = []
        self._lines: list[str] = []
        self._parsed: list[Span] = []
        words = [*(command or agent_command()), "run", "--output", output]
        for pid in pids:
            words += ["--pid", str(pid)]
        self.command = [*words, *arguments]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
        started = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if keep_output else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**clean, **(env or {})},
            start_new_session=True,
        )
        self._readers = [threading.Thread(target=self._read_errors, daemon=True)]
        if keep_output:
            self._readers.append(threading.Thread(target=self._read_output, daemon=True))
        for reader in self._readers:
            reader.start()
        try:
            self._await_ready(started + limit_seconds)
        except BaseException:
            self.kill()
            raise
        self.ready_seconds = time.monotonic() - started

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                with self._changed:
                    self._errors.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()

    def _await_ready(self, deadline: float) -> None:
        def settled() -> bool:
            return self._is_ready() or self.process.poll() is not None

        with self._changed:
            while not settled() and time.monotonic() < deadline:
                self._changed.wait(0.2)
        if self._is_ready():
            return
        status = self.process.poll()
        if status is None:
            raise AgentError(f"no line with `ready` in time\n{self.errors}")
        self._readers[0].join(5)
        raise AgentError(f"ended with status {status} before `ready`\n{self.errors}")

    def _is_ready(self) -> bool:
        return any(re.search(r"\bready\b", line) for line in list(self._errors))

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def errors(self) -> str:
        """Everything it has printed on standard error so far."""
        return "".join(list(self._errors))

    @property
    def output(self) -> str:
        """Everything it has printed on standard output so far."""
        return "".join(list(self._lines))

    @property
    def spans(self) -> list[Span]:
        """The spans printed so far. A line that is no JSON object fails the test."""
        for line in self._lines[len(self._parsed) :]:
            span = json.loads(line)
            if not isinstance(span, dict):
                raise AgentError(f"standard output has a line that is no span: {line!r}")
            self._parsed.append(span)
        return list(self._parsed)

    def wait_spans(
        self, enough: Callable[[list[Span]], bool] | int, seconds: float = 15.0
    ) -> list[Span]:
        """The spans so far, once ``enough`` holds (or there are that many)."""
        deadline = time.monotonic() + seconds
        while True:
            spans = self.spans
            if len(spans) >= enough if isinstance(enough, int) else enough(spans):
                return spans
            with self._changed:
                if len(self._lines) == len(spans):
                    self._changed.wait(0.1)
            if time.monotonic() > deadline:
                shown = "\n".join(json.dumps(span) for span in spans[-10:])
                raise AgentError(
                    f"not enough spans after {seconds:g} s: {len(spans)}\n{shown}\n{self.errors}"
                )
            if self.process.poll() is not None:
                raise AgentError(f"ended with {self.process.returncode}\n{self.errors}")

    def wait_said(
        self, text: str, seconds: float = 30.0, meanwhile: Callable[[], object] | None = None
    ) -> None:
        """Until it has printed ``text`` on standard error; does ``meanwhile`` over and over."""
        deadline = time.monotonic() + seconds

        def said() -> bool:
            return any(text in line for line in list(self._errors))

        while not said():
            if meanwhile is not None:
                meanwhile()
            else:
                with self._changed:
                    if not said():
                        self._changed.wait(0.2)
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AgentError(f"it has not said {text!r}\n{self.errors}")

    def stop(self, seconds: float = 30.0, signal_number: int = signal.SIGTERM) -> list[Span]:
        """Ask it to drain and end; returns every span. A bad end is an ``AgentError``."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AgentError(f"did not end within {seconds:g} s\n{self.errors}") from None
        for reader in self._readers:
            reader.join(seconds)
        if self.process.returncode != 0:
            raise AgentError(f"ended with status {self.process.returncode}\n{self.errors}")
        self.ledger = parse_ledger(self.errors.rpartition("ledger")[2])
        return self.spans

    def kill(self) -> None:
        """End it without draining, whatever its state. Never raises for a dead process."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join(5)

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is not None:
            self.kill()
        elif kind is None:
            self.stop()
        else:
            self.kill()
