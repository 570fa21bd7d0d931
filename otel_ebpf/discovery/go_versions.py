"""Versions of Go and of Go modules, as build information writes them, in order.

Source: the Go modules reference ("Versions", "Pseudo-versions"); semver 2.0.0, 11.
"""

from __future__ import annotations

import re

_GO = re.compile(r"go(\d+)\.(\d+)(?:\.(\d+))?")
_MODULE = re.compile(r"v(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+incompatible)?$")

ModuleVersion = tuple[int, int, int, int, str]
"""Major, minor, patch, 1 for a release or 0 for what comes before it, and that text."""


def parse_version(text: str) -> tuple[int, int, int]:
    """``go1.24.3 X:nodwarf5`` or ``devel go1.28-abc`` as (1, 24, 3); (0, 0, 0) if neither."""
    match = _GO.search(text[:256])
    if match is None:
        return 0, 0, 0
    major, minor, patch = (int(part[:6]) if part else 0 for part in match.groups())
    return major, minor, patch


def module_version(text: str) -> ModuleVersion | None:
    """``v1.40.0`` or ``v0.0.0-20200822124328-c89045814202`` as a tuple that sorts.

    None for what is no version: "", "(devel)", a local replacement.
    """
    match = _MODULE.match(text[:256])
    if match is None:
        return None
    major, minor, patch = (int(part[:9]) for part in match.group(1, 2, 3))
    before = match.group(4) or ""
    return major, minor, patch, 0 if before else 1, before
