"""What travels in the wheel, and that it works where it lands."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from otel_ebpf.kernel.paths import bpf_dir

_ROOT = Path(__file__).resolve().parents[2]
_BUILD_INPUT = ("otel_ebpf", "bpf", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md")


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _run(*command: str | Path, cwd: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the build reads: the build leaves its folders in the copy."""
    copy = tmp_path_factory.mktemp("source")
    for name in _BUILD_INPUT:
        if (_ROOT / name).is_dir():
            shutil.copytree(_ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(_ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    elsewhere = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    _run(*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", ".", source, cwd=elsewhere)
    (built,) = elsewhere.glob("*.whl")
    return built


def test_wheel_carries_every_bpf_source_unchanged(source: Path, wheel: Path) -> None:
    prefix = "otel_ebpf/_bpf/"
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            name.removeprefix(prefix): archive.read(name)
            for name in archive.namelist()
            if name.startswith(prefix)
        }
    assert packed == _files(source / "bpf")
    assert any(name.endswith(".c") for name in packed)
    assert any(name.endswith(".h") for name in packed)
    assert any(name.startswith("shim/") for name in packed)


def test_wheel_carries_every_module_and_table(source: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            name.removeprefix("otel_ebpf/")
            for name in archive.namelist()
            if name.startswith("otel_ebpf/") and not name.startswith("otel_ebpf/_bpf/")
        }
    assert packed == set(_files(source / "otel_ebpf"))


def test_wheel_never_asks_pypi_for_bcc(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        requirements = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist")
    assert requirements is not None
    assert not [each for each in requirements if each.lower().startswith("bcc")]


def test_installed_wheel_finds_its_bpf_sources(source: Path, wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    _run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    _run(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python),
        *("install", "--quiet", "--no-deps", "--no-index", wheel),
        cwd=tmp_path,
    )
    found = _run(
        python,
        "-c",
        "from otel_ebpf.kernel.paths import bpf_dir; print(bpf_dir())",
        cwd=tmp_path,
    )
    folder = Path(found.strip())
    assert folder.is_relative_to(environment)
    assert _files(folder) == _files(source / "bpf")
    assert os.access(environment / "bin" / "otel-ebpf", os.X_OK)


def test_source_archive_carries_the_bpf_sources(source: Path, tmp_path: Path) -> None:
    backend = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    _run(sys.executable, "-c", backend, tmp_path, cwd=source)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        inside = {
            member.name.partition("/bpf/")[2]: packed.extractfile(member).read()  # type: ignore[union-attr]
            for member in packed
            if member.isfile() and member.name.partition("/")[2].startswith("bpf/")
        }
    assert inside == _files(source / "bpf")


def test_checkout_uses_the_sources_at_its_top() -> None:
    assert bpf_dir() == _ROOT / "bpf"
