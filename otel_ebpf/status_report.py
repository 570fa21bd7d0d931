"""What is told of each traced process when somebody asks how the agent is doing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otel_ebpf.correlation.parents import Parents
from otel_ebpf.metadata.process import Process

MAX_TOLD = 500
"""Processes that are told of, those with the most exchanges."""


def by_process(
    parents: Parents, process_of: Callable[[int], Process | None]
) -> list[dict[str, Any]]:
    """One object a process, the busiest first: ``pid``, ``service_name``, ``language``, what
    :meth:`Links.report` has, and ``checks``, the live tests of its inferred rules."""
    links = parents.links.report()
    busiest = sorted(links, key=lambda pid: links[pid]["served"] + links[pid]["calls"])
    told = []
    for pid in reversed(busiest[-MAX_TOLD:]):
        process = process_of(pid)
        told.append(
            {
                "pid": pid,
                "service_name": process.service_name if process is not None else "?",
                "language": process.language if process is not None else "",
                **links[pid],
                "checks": parents.checks(pid),
            }
        )
    return told
