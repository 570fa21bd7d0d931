"""The kernel half's inference under the compiler's sanitizers: any first bytes, any lengths.

It is plain C of the first 16 bytes, which are given to it in memory of just that size.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.unit.test_infer_messages import _SOURCE, BPF, COMPILER
from tests.unit.test_infer_web import _SOURCE as _WEB

_DRIVER = Path(__file__).resolve().parent / "infer_driver.c"


def names() -> list[str]:
    """The functions that are tried."""
    return re.findall(r"^u8 (\w+)\(const u8", _SOURCE + _WEB, re.M)


def build(folder: Path) -> Path:
    """The program that tries them: SECONDS FILE SEED, a file of first bytes, 16 each. Raises
    RuntimeError with the compiler's words."""
    (folder / "table.h").write_text(f"static const infer_t all[] = {{{', '.join(names())}}};\n")
    source, program = folder / "infer.c", folder / "infer"
    source.write_text(_SOURCE + _WEB + _DRIVER.read_text())
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    done = subprocess.run(
        [str(COMPILER), *flags, "-I", str(BPF), "-I", str(folder), "-o", str(program), str(source)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"the inference does not compile: {done.stderr[-2000:]}")
    return program
