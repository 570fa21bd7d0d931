"""What ``doctor --pid`` says of an event loop: which identities of its requests are read."""

from __future__ import annotations

from otel_ebpf.discovery.java_runtime import read_java
from otel_ebpf.discovery.libuv import read_loop
from otel_ebpf.discovery.node_runtime import place_of_collections, read_node
from otel_ebpf.discovery.processes import ProcessImage
from otel_ebpf.discovery.python_runtime import read_python, why_unknown
from otel_ebpf.discovery.tokio_runtime import read_tokio
from otel_ebpf.runtimes import TURNS


def identities(image: ProcessImage) -> str:
    """In words; "" for a program of which nothing is to be said."""
    if image.language == "python" and image.runtime_name != "pypy":
        members = read_python(image.pid)
        if members is None:
            return f"none, it is traced by thread: {why_unknown(image.pid)}"
        tasks = "contexts and asyncio's tasks" if members["tasks"] else "contexts, no asyncio yet"
        return f"{tasks}, read from memory, no uprobe unless its threads or lone tasks need it"
    if image.language == "java":
        if read_java(image.pid):
            return "virtual threads, read from memory, no uprobe"
        return "threads; virtual ones are told apart in HotSpot from JDK 24 on"
    if not image.language and read_tokio(image.pid):
        return "tasks of tokio, read from memory, no uprobe"
    if image.language == "nodejs":
        told = ["turns of the loop"]
        loop = read_loop(image.pid)
        if loop:
            told.append("whether it is at timers")
        if read_node(image.pid):
            follows = place_of_collections(image.pid) is not None
            told.append("frames of AsyncLocalStorage" + (", wherever they move" if follows else ""))
        unknown = " (not known yet whether it is at timers: it is busy)" if loop is None else ""
        return ", and ".join(told) + unknown
    return "turns of the loop" if image.exe.rpartition("/")[2] in TURNS else ""
