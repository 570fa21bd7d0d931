"""``otel-ebpf.yaml`` read: which variable gets which value, and where in the file that stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import quote

import msgspec
import yaml

from otel_ebpf.config.schema import Document, Protocols, Section
from otel_ebpf.errors import UsageError
from otel_ebpf.protocols.registry import PROTOCOLS

MAX_BYTES = 1 << 20
PROTOCOLS_VARIABLE = "OTEL_EBPF_PROTOCOLS"
_MEND = "docs/config.md has every key"
_AT = re.compile(r"^(.*?)(?: - at `(\$[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")


@dataclass(frozen=True, slots=True)
class Said:
    """One value of the file.

    Attributes:
        key: with its sections, as ``export.endpoint``.
        value: as the variable would have it.
        where: file and line.
    """

    key: str
    value: str
    where: str


@dataclass(frozen=True, slots=True)
class Key:
    """One key that the file may have, with what says the same elsewhere."""

    key: str
    variable: str
    default: str
    flag: str
    secret: bool


def keys() -> Iterator[Key]:
    """Every key, in the order of the schema. Those that turn protocols off are one."""
    for path, _, said in _leaves(Document, ""):
        yield Key(path, said["variable"], said["default"], said["flag"], said["secret"])
    every = ",".join(p.name for p in PROTOCOLS)
    yield Key("protocols.*.enabled", PROTOCOLS_VARIABLE, every, "--protocol", False)


def read(path: str) -> dict[str, Said]:
    """The file's values by variable.

    Raises:
        UsageError: it cannot be read, is no YAML, or has a key or a type that is wrong; names
            file, line and key.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(why, where=path, mend="name a file that can be read") from None
    if len(data) > MAX_BYTES:
        raise UsageError("is larger than 1 MiB", where=path, mend="is it the right file?")
    values, lines = _parse(path, data)
    try:
        document = msgspec.convert(values, Document)
    except msgspec.ValidationError as error:
        raise _wrong(path, str(error), lines) from None
    return {said_of[0]: said_of[1] for said_of in _said(path, document, lines)}


def _parse(path: str, data: bytes) -> tuple[Any, dict[str, int]]:
    """The document as plain values, and the line of each of its keys."""
    lines: dict[str, int] = {}
    try:
        # Anchors would let a short file stand for an endless one.
        for event in yaml.parse(data, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise UsageError(
                    "anchors and aliases are not used here",
                    where=_place(path, event.start_mark.line + 1 if event.start_mark else 1),
                    mend="write the value out",
                )
        loader = yaml.SafeLoader(data)
        node = loader.get_single_node()
        if node is None:
            return {}, lines
        _note(path, node, "$", lines)
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise UsageError(
            f"is no YAML: {error.problem or error.context}", where=_place(path, line), mend=_MEND
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(
            f"is no YAML: {str(error).splitlines()[0]}", where=path, mend=_MEND
        ) from None


def _note(path: str, node: yaml.Node, at: str, lines: dict[str, int]) -> None:
    line = node.start_mark.line + 1
    lines.setdefault(at, line)
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            place = f"{at}.{name.value}"
            line = name.start_mark.line + 1
            if place in lines:
                raise UsageError(
                    f"{place[2:]} is there twice (first in line {lines[place]})",
                    where=_place(path, line),
                    mend="keep one of them",
                )
            lines[place] = line
            _note(path, value, place, lines)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            lines[f"{at}[{number}]"] = value.start_mark.line + 1
            _note(path, value, f"{at}[{number}]", lines)


def _place(path: str, line: int) -> str:
    return f"{path}:{line}"


def _wrong(path: str, text: str, lines: dict[str, int]) -> UsageError:
    found = _AT.match(text)
    message, at = (found[1], found[2] or "$") if found else (text, "$")
    unknown = _UNKNOWN.search(message)
    if unknown is not None:
        place = f"{at}.{unknown[1]}"
        mend = _MEND
        message = "no such key"
    else:
        place = at
        message = message.replace("Expected", "expected").replace("`", "")
        mend = "put it in quotes if it is meant as text" if "expected str" in message else _MEND
    # Keys of a mapping are not told; then the mapping's own line is.
    shown = place.replace("[...]", "")
    line = lines.get(place) or lines.get(shown) or lines.get(at) or 1
    key = shown[2:] or "the file"
    return UsageError(f"{key}: {message}", where=_place(path, line), mend=mend)


def _leaves(section: type[Section], prefix: str) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """(key, type, what says the same elsewhere) of every key beneath a section."""
    hints = get_type_hints(section, include_extras=True)
    for name in section.__struct_fields__:
        hint = hints[name]
        said = next((m.extra for m in getattr(hint, "__metadata__", ()) if m.extra), None)
        if said is not None:
            yield prefix + name, hint, said
            continue
        for kind in get_args(hint) or (hint,):
            if isinstance(kind, type) and get_origin(kind) is None and issubclass(kind, Section):
                yield from _leaves(kind, f"{prefix}{name}.")


def _said(path: str, document: Document, lines: dict[str, int]) -> Iterator[tuple[str, Said]]:
    for key, _, said in _leaves(Document, ""):
        value: Any = document
        for name in key.split("."):
            value = getattr(value, name) if value is not None else None
        if value is not None:
            where = _place(path, lines.get("$." + key, 1))
            if isinstance(value, list) and any("," in str(item) for item in value):
                raise UsageError(
                    f"{key}: an entry holds a comma", where=where, mend="give it as two entries"
                )
            yield said["variable"], Said(key, _text(value), where)
    protocols = document.protocols
    if protocols is not None:
        off = [name for name in Protocols.__struct_fields__ if _is_off(protocols, name)]
        if off:
            on = [p.name for p in PROTOCOLS if p.name not in off]
            key = f"protocols.{off[0]}.enabled"
            where = _place(path, lines.get("$." + key, 1))
            yield PROTOCOLS_VARIABLE, Said(key, ",".join(on) or "none", where)


def _is_off(protocols: Protocols, name: str) -> bool:
    section = getattr(protocols, name)
    return section is not None and not section.enabled


def _text(value: object) -> str:
    """As the variable would have it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(
            f"{quote(name, safe='')}={quote(text, safe='')}" for name, text in value.items()
        )
    return str(value)
