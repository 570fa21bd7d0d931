"""What the correlator lacks is asked of those who put probes into processes."""

from __future__ import annotations

from otel_ebpf.correlation.parents import Parents
from otel_ebpf.targets import Targets


def pass_on(parents: Parents, targets: Targets) -> None:
    """Hands over every wish that has come since the last time."""
    wanted = parents.wanted_births
    while wanted:
        targets.want_births(wanted.pop())
    needed = parents.needs.wanted
    while needed:
        targets.need(*needed.pop())
    needs = parents.needs
    while needs.wanted_statements:
        targets.need_statement(*needs.wanted_statements.pop())
    while needs.unwanted_statements:
        targets.drop_statement(*needs.unwanted_statements.pop())
    copies = parents.anchors.copies
    while copies.wanted:
        targets.need_copies(copies.wanted.pop())
    while copies.unwanted:
        targets.drop_copies(copies.unwanted.pop())
    framed = parents.anchors.wanted_frames
    while framed:
        targets.need_frames(framed.pop())
    workers = parents.wanted_workers
    while workers:
        targets.need_workers(workers.pop())
