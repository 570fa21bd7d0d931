"""What Thrift's own compiler makes of tests/targets/thrift/shop.thrift, made once and kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from tests.debian import debian_program
from tests.gobuild import build_go, cache_dir
from tests.pythons import python_with

IDL = Path(__file__).parent / "targets" / "thrift" / "shop.thrift"
GO = Path(__file__).parent / "targets" / "go" / "thrift"
PYTHON_PACKAGES = ("thrift==0.22.0", "thriftpy2==0.5.3")
GO_LIBRARY = {"github.com/apache/thrift": "v0.17.0"}


def generated(language: str) -> Path:
    """The folder of code for ``py`` or ``go``. Raises RuntimeError with the compiler's words, or
    where there is no compiler."""
    compiler, env = debian_program("thrift", "usr/bin/thrift", ("thrift-compiler",))
    digest = hashlib.sha256(IDL.read_bytes()).hexdigest()[:16]
    target = cache_dir().parent / "thrift" / f"{language}-{digest}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{target}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return target
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            done = subprocess.run(
                [compiler, "-r", "--gen", language, "-out", folder, IDL],
                env=env, capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode:
                raise RuntimeError(f"thrift --gen {language}: {done.stdout}{done.stderr}")
            os.rename(Path(folder) / "main" if language == "go" else folder, target)
            if language != "go":
                Path(folder).mkdir()  # for whoever removes it
    return target


def python() -> Path:
    """An interpreter with Thrift's own library and thriftpy2."""
    return python_with(PYTHON_PACKAGES)


def go_client() -> Path:
    """The program of tests/targets/go/thrift."""
    code = generated("go")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "thrift"
        source.mkdir()
        for file in (GO / "main.go", *code.glob("*.go")):
            (source / file.name).write_bytes(file.read_bytes())
        return build_go(source, requires=GO_LIBRARY, language="1.21")
