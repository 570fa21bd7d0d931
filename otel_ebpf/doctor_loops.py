"""What ``doctor --pid`` says of an event loop: which identities of its requests are read."""

from __future__ import annotations

from otel_ebpf.discovery.node_runtime import read_node
from otel_ebpf.discovery.processes import ProcessImage
from otel_ebpf.discovery.python_runtime import read_python
from otel_ebpf.runtimes import TURNS

_UNKNOWN_PYTHON = (
    "none: this build is not known (its version, or it is free-threaded, or for musl); it is "
    "traced by thread"
)


def identities(image: ProcessImage) -> str:
    """In words; "" for a program of which nothing is to be said."""
    if image.language == "python" and image.runtime_name != "pypy":
        members = read_python(image.pid)
        if members is None:
            return _UNKNOWN_PYTHON
        tasks = "contexts and asyncio's tasks" if members["tasks"] else "contexts, no asyncio yet"
        return f"{tasks}, read from memory, no uprobe unless its threads or lone tasks need it"
    if image.language == "nodejs":
        frames = bool(read_node(image.pid))
        return "turns of the loop" + (", and frames of AsyncLocalStorage" if frames else "")
    return "turns of the loop" if image.exe.rpartition("/")[2] in TURNS else ""
