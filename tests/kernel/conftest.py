"""One loaded kernel half for all tests of this folder, and the program that they drive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_ebpf.kernel.config import KernelConfig
from tests.kernel.tracer import Tracer
from tests.kernel.traffic import Traffic

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """BCC warns of every str that it is given, and takes it all the same."""
    for item in items:
        if item.path.parent == _HERE:
            item.add_marker(pytest.mark.filterwarnings("ignore:not a bytes:DeprecationWarning"))


@pytest.fixture(scope="session", params=[("auto", "auto"), ("entries", "calls")])
def attached(request: pytest.FixtureRequest) -> Iterator[Tracer]:
    """Both ways to a call's arguments and to the running task: the ones that this kernel
    allows, and the ones that all do."""
    receives, reads = request.param
    config = KernelConfig(filter_processes=True, receives=receives, task_reads=reads)
    with Tracer(config) as tracer:
        yield tracer


@pytest.fixture
def tracer(attached: Tracer) -> Tracer:
    """Attached, with nothing recorded yet."""
    attached.clear()
    return attached


@pytest.fixture
def traffic(tracer: Tracer) -> Iterator[Traffic]:
    """The workload, chosen for tracing and waiting for its first command."""
    with Traffic() as program:
        tracer.choose(program.pid)
        yield program
