"""Programs at their places: tracepoints, raw tracepoints, uprobes; and their leaving.

To end a tracepoint's perf event the kernel waits until no processor can be in it any
more, some 40 ms, one event after the other, whoever asks: seconds for all. A link's
closing ends its program's running as surely, and many wait together. So the links are
closed here, at once, and the events, which by then run nothing, by a process that does
only that; they would be closed at this one's end too, but then it would last.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from otel_ebpf.kernel import sysbpf
from otel_ebpf.kernel.parallel import each

_PMU = Path("/sys/bus/event_source/devices/uprobe/type")
_AT_ONCE = 64
"""Links that are closed together; the waiting is the kernel's and costs no time here."""


@dataclass(slots=True)
class Attachment:
    """One program at one place.

    Attributes:
        link: closing it ends the program's running; -1 where the kernel has none for it.
        event: the perf event beneath, or -1.
    """

    link: int = -1
    event: int = -1


@dataclass(slots=True)
class Attachments:
    """What this process has attached. Every method raises the kernel's OSError."""

    _by_handle: dict[int, Attachment] = field(default_factory=dict)
    _next: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _links: bool = True
    _multi: bool | None = None

    def tracepoint(self, number: int, program: int) -> int:
        """Attach to the tracepoint with this id of tracefs. Returns a handle."""
        event = sysbpf.perf_event_open(sysbpf.PERF_TYPE_TRACEPOINT, number)
        return self._keep(self._on(event, program))

    def raw_tracepoint(self, name: str, program: int) -> int:
        """Attach to a raw tracepoint. Returns a handle."""
        return self._keep(Attachment(sysbpf.open_raw_tracepoint(program, name.encode())))

    def uprobe(
        self, path: str, offset: int, program: int, *, returns: bool = False, pid: int = 0
    ) -> int:
        """Attach to a file offset of a binary, or to the return of the function there, in one
        process or in every (0). Returns a handle.

        ``program`` must have been loaded for :meth:`uprobe_type`.
        """
        if self.uprobe_type():
            link = sysbpf.link_uprobes(
                os.fsencode(path), [offset], program, returns=returns, pid=pid
            )
            return self._keep(Attachment(link))
        kind = int(_PMU.read_text())
        name = ctypes.create_string_buffer(os.fsencode(path))
        event = sysbpf.perf_event_open(
            kind,
            int(returns),  # the PMU's format says: bit 0
            config1=ctypes.addressof(name),
            config2=offset,
            cpu=-1 if pid else 0,
            pid=pid or -1,
        )
        return self._keep(self._on(event, program))

    def uprobe_type(self) -> int:
        """The expected attach type of uprobes' programs: 0 where the kernel has no links
        for uprobes (before 6.6)."""
        if self._multi is None:
            self._multi = _has_uprobe_links()
        return sysbpf.UPROBE_MULTI if self._multi else 0

    def detach(self, handles: Sequence[int]) -> None:
        """End these. Waits for the kernel, some 40 ms; together for many."""
        with self._lock:
            found = [self._by_handle.pop(handle) for handle in handles]
        each(_close, found, min(len(found), _AT_ONCE))

    def close(self) -> None:
        """End all."""
        with self._lock:
            found = list(self._by_handle.values())
            self._by_handle.clear()
        later = [a.event for a in found if a.link >= 0 and a.event >= 0]
        for attachment in found:
            if attachment.link >= 0:
                attachment.event = -1
        each(_close, found, min(len(found), _AT_ONCE))
        if later:
            _close_elsewhere(later)

    def _on(self, event: int, program: int) -> Attachment:
        try:
            if self._links:
                try:
                    return Attachment(sysbpf.link_perf(event, program), event)
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    self._links = False  # before 5.15
            sysbpf.attach_perf(event, program)
        except BaseException:
            os.close(event)
            raise
        return Attachment(-1, event)

    def _keep(self, attachment: Attachment) -> int:
        with self._lock:
            self._next += 1
            self._by_handle[self._next] = attachment
            return self._next


def _close(attachment: Attachment) -> None:
    for fd in (attachment.link, attachment.event):
        if fd >= 0:
            os.close(fd)


def _has_uprobe_links() -> bool:
    """A kernel that knows them finds that a folder is no program; another, the request
    unknown."""
    program = sysbpf.load_program(
        sysbpf.KPROBE, sysbpf.RETURN_ZERO, expected_attach=sysbpf.UPROBE_MULTI
    )
    try:
        os.close(sysbpf.link_uprobes(b"/", [0], program))
    except OSError as error:
        return error.errno == errno.EBADF
    finally:
        os.close(program)
    return False


def _close_elsewhere(events: list[int]) -> None:
    """Hands descriptors to a process that ends at once, and closes them here."""
    # A descriptor duplicated onto itself survives the execution.
    keep = [(os.POSIX_SPAWN_DUP2, event, event) for event in events]
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    argv = [sys.executable, "-I", "-S", "-c", ""]
    pid = 0
    with contextlib.suppress(OSError):
        pid = os.posix_spawn(sys.executable, argv, {}, file_actions=[*quiet, *keep], setpgroup=0)
    for event in events:
        os.close(event)
    if pid:
        threading.Thread(target=os.waitpid, args=(pid, 0), daemon=True).start()
