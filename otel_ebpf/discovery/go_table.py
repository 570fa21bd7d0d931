"""The recorded layouts: ``go_offsets.json``, made by ``scripts/gen-go-offsets``.

One list of layouts for Go itself and one for each module with layouts of its own. A
layout holds from the version that first had it until the next one; it is kept as the
difference to the one before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from otel_ebpf.discovery.go_fields import HTTP2_PREFIXES, STD
from otel_ebpf.discovery.go_versions import module_version, parse_version
from otel_ebpf.errors import OtelEbpfError

# Experiments that leave every struct above as it is.
_HARMLESS = frozenset({"boringcrypto", "nodwarf5", "dwarf5", "jsonv2", "nojsonv2"})

Version = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Layouts:
    """What was measured of Go or of one module.

    Attributes:
        measured: the versions that programs were built with, oldest first.
        layouts: (first version measured with it, offsets in bytes), oldest first.
    """

    measured: tuple[Version, ...]
    layouts: tuple[tuple[Version, Mapping[str, int]], ...]

    def at(self, version: Version) -> Mapping[str, int]:
        """The newest layout that is not newer; empty before the first."""
        found: Mapping[str, int] = {}
        for since, offsets in self.layouts:
            if since > version:
                break
            found = offsets
        return found

    def following(self, version: Version) -> Mapping[str, int] | None:
        """The layout of the first measured version at or after this one; None after all."""
        for measured in self.measured:
            if measured >= version:
                return self.at(measured)
        return None


@dataclass(frozen=True, slots=True)
class Recorded:
    """Offsets by name that the table gives for a version, and those that are no more
    than a guess: the version is newer than all that was measured, or lies between two
    that differ, or is no release."""

    certain: Mapping[str, int]
    guessed: Mapping[str, int]


def _key(home: str, text: str) -> Version | None:
    if home != STD:
        return module_version(text)
    version = parse_version(text)
    return version if any(version) else None


@lru_cache(maxsize=1)
def load() -> Mapping[str, Layouts]:
    """The whole table by home: ``STD`` or a module's path. OtelEbpfError when damaged."""
    file = resources.files("otel_ebpf.discovery").joinpath("go_offsets.json")
    try:
        raw: dict[str, Any] = json.loads(file.read_text())
        return {home: _decode(home, part) for home, part in raw["homes"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OtelEbpfError(
            f"the table of Go offsets cannot be read ({error})",
            where=str(file),
            mend="reinstall otel-ebpf",
        ) from error


def _decode(home: str, raw: dict[str, Any]) -> Layouts:
    current: dict[str, int] = {}
    layouts = []
    for entry in raw["layouts"]:
        current = {n: o for n, o in current.items() if n not in entry.get("gone", ())}
        current.update(entry["offsets"])
        layouts.append((_known(home, entry["since"]), current))
    return Layouts(tuple(_known(home, text) for text in raw["measured"]), tuple(layouts))


def _known(home: str, text: str) -> Version:
    version = _key(home, text)
    if version is None:
        raise ValueError(f"{text} is no version")
    return version


def _unreleased(text: str) -> bool:
    """A Go that nobody released as it is: its structs may be anything."""
    experiments = text.partition(" X:")[2].split(" ")[0]
    odd = {e for e in experiments.split(",") if e} - _HARMLESS
    return bool(odd) or re.search(r"devel|\drc\d|\dbeta\d", text) is not None


def lookup(home: str, text: str) -> Recorded:
    """Offsets of one home for a version's text. Nothing is known before the first layout."""
    version, table = _key(home, text), load().get(home)
    if version is None or table is None:
        return Recorded({}, {})
    before = table.at(version)
    if home == STD and _unreleased(text):
        return Recorded({}, before)
    same = [m for m in table.measured if home == STD and m[:2] == version[:2]]
    if same and not same[0] <= version <= same[-1]:
        # Patch releases move no fields, except that they mend HTTP/2.
        every = table.at(min(max(version, same[0]), same[-1]))
        certain = {n: at for n, at in every.items() if not n.startswith(HTTP2_PREFIXES)}
        return Recorded(certain, {n: at for n, at in every.items() if n not in certain})
    after = table.following(version)
    if after is None:
        return Recorded({}, before)
    agreed = {name: at for name, at in before.items() if after.get(name) == at}
    return Recorded(agreed, {n: at for n, at in before.items() if n not in agreed})
