"""The form of a finding, and what is needed to write one."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

OK, DEGRADED, MISSING = "ok", "degraded", "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: stable, for programs.
        state: ``ok``, ``degraded`` (works, with what ``means`` says) or ``missing``.
        needed: nothing can be traced while this is missing.
        means: what it means for the user.
        mend: the command or setting that mends it, or "".
    """

    name: str
    state: str
    needed: bool
    means: str
    mend: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def tried(name: str, needed: bool, error: OSError | None, good: str, mend: str) -> Finding:
    if error is None:
        return Finding(name, OK, needed, good)
    return Finding(name, MISSING, needed, f"refused: {reason(error)}", mend)


def attempt(what: Callable[[], object]) -> OSError | None:
    try:
        what()
    except OSError as error:
        return error
    except ValueError as error:  # a file of the kernel's that reads otherwise than documented
        return OSError(errno.EINVAL, str(error))
    return None


def unreadable(path: Path) -> bool:
    try:
        if path.is_dir():
            next(path.iterdir(), None)
        else:
            path.read_bytes()
    except OSError:
        return True
    return False


def reason(error: OSError) -> str:
    return error.strerror or str(error)
