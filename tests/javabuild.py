"""Compile Java test programs once and keep them, keyed by all that decides the output."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.gobuild import cache_dir


def java_home() -> Path | None:
    """The JDK that ``javac`` on PATH belongs to, or None where there is none."""
    found = shutil.which("javac")
    return Path(found).resolve().parents[1] if found else None


def java_home_with_virtual_threads() -> Path | None:
    """A JDK whose virtual threads are told apart: what OTEL_EBPF_JDK names, or an installed one."""
    named = os.environ.get("OTEL_EBPF_JDK")
    if named:
        return Path(named)
    for release in sorted(Path("/usr/lib/jvm").glob("*/release")):
        said = re.search(r'JAVA_VERSION="(\d+)', release.read_text())
        if said and int(said[1]) >= 24:
            return release.parent
    return None


def build_java(source: Path, home: Path, libraries: Sequence[Path] = ()) -> Path:
    """Compile the ``*.java`` directly in ``source`` with the JDK at ``home``; returns the
    directory of classes. Safe to call from several processes at once. Raises RuntimeError with the
    compiler's words."""
    files = sorted(source.glob("*.java"))
    digest = hashlib.sha256(repr((str(home), [str(path) for path in libraries])).encode())
    for file in files:
        digest.update(file.name.encode() + file.read_bytes())
    target = cache_dir().parent / "java" / f"{source.name}-{digest.hexdigest()[:16]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{target}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return target
        with tempfile.TemporaryDirectory(dir=target.parent) as partial:
            with_libraries = ["-cp", os.pathsep.join(map(str, libraries))] if libraries else []
            done = subprocess.run(
                [home / "bin" / "javac", *with_libraries, "-d", f"{partial}/classes", *files],
                capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode:
                raise RuntimeError(f"javac {source}: {done.stderr.strip()}")
            os.rename(f"{partial}/classes", target)
    return target


def maven_jars(*artifacts: str) -> list[Path]:
    """Jars of these artifacts (``group:name:version``) and of what they need, from Maven's
    repository. Raises RuntimeError with Maven's words, or where there is no ``mvn``."""
    key = hashlib.sha256(repr(artifacts).encode()).hexdigest()[:16]
    home = cache_dir().parent / "java" / f"jars-{key}"
    home.mkdir(parents=True, exist_ok=True)
    with open(f"{home}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            needed = "".join(
                "<dependency><groupId>{}</groupId><artifactId>{}</artifactId>"
                "<version>{}</version></dependency>".format(*artifact.split(":"))
                for artifact in artifacts
            )
            (home / "pom.xml").write_text(
                "<project><modelVersion>4.0.0</modelVersion><groupId>tests</groupId>"
                "<artifactId>jars</artifactId><version>1</version>"
                f"<dependencies>{needed}</dependencies></project>"
            )
            mvn = shutil.which("mvn")
            if mvn is None:
                raise RuntimeError("no mvn command: install Maven")
            command = [mvn, "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=."]
            done = subprocess.run(command, cwd=home, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"mvn {' '.join(artifacts)}: {done.stdout[-2000:]}")
            (home / "complete").touch()
    return sorted(home.glob("*.jar"))
