"""The import contracts hold, and each of them notices the import that it forbids."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_LINT: list[str | Path] = [Path(sys.executable).parent / "lint-imports", "--no-cache"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(_ROOT / "otel_ebpf", tmp_path / "otel_ebpf", ignore=skip)
    shutil.copy(_ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def _lint(folder: Path) -> tuple[int, str]:
    done = subprocess.run(_LINT, cwd=folder, capture_output=True, text=True, timeout=60)
    # The report wraps long names at 80 columns.
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_the_contracts_hold() -> None:
    code, report = _lint(_ROOT)
    assert code == 0, report


@pytest.mark.parametrize(
    ("module", "forbidden", "contract"),
    [
        ("correlation/bad.py", "otel_ebpf.export", "Data goes one way"),
        ("events/bad.py", "otel_ebpf.protocols.base", "Data goes one way"),
        ("kernel/bad.py", "otel_ebpf.events", "The kernel side yields raw bytes"),
        ("export/bad.py", "otel_ebpf.kernel.paths", "Everything above the kernel replays"),
        ("protocols/bad.py", "time", "Protocol parsers see bytes"),
        ("metadata/bad.py", "otel_ebpf.spans.model", "Discovery and metadata"),
        ("correlation/bad.py", "opentelemetry.sdk.trace", "Only what is downstream"),
        ("kernel/bad.py", "bcc", "are the only doors to BCC"),
        ("bad.py", "bcc", "are the only doors to BCC"),
        ("kernel/loader.py", "otel_ebpf.kernel.compile", "Nothing that the agent imports"),
    ],
)
def test_a_forbidden_import_is_noticed(
    copy: Path, module: str, forbidden: str, contract: str
) -> None:
    (copy / "otel_ebpf" / module).write_text(f"import {forbidden}\n")
    code, report = _lint(copy)
    assert code == 1, report
    verdict = re.search(r" (KEPT|BROKEN)", report[report.index(contract) :])
    assert verdict is not None
    assert verdict[1] == "BROKEN", report


def test_the_compiling_process_may_import_bcc(copy: Path) -> None:
    compile_module = copy / "otel_ebpf" / "kernel" / "compile.py"
    compile_module.write_text("import bcc\n")
    assert _lint(copy)[0] == 0
