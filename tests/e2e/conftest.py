"""A Collector for every end-to-end test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.collector import Collector, build_collector


@pytest.fixture(scope="session")
def collector_binary() -> Path:
    return build_collector()


@pytest.fixture
def collector(collector_binary: Path, tmp_path: Path) -> Iterator[Collector]:
    """A running Collector of the test's own, empty."""
    with Collector(collector_binary, tmp_path) as running:
        yield running
