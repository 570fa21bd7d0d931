"""What the compiler makes of the BPF sources: instructions, maps, and who uses which.

A value that needs neither BCC nor privileges, and its form as bytes: what the compiling
process hands back is also what a cache keeps.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

INSTRUCTION = 8
"""Bytes of one BPF instruction."""
MAP_BY_DESCRIPTOR = 1
"""Source register of a 64-bit load whose number is a map's descriptor (BPF_PSEUDO_MAP_FD)."""

_MAGIC = b"otel-ebpf programs 1\n"
_DIGEST = 32
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class MapDefinition:
    """A map as the sources declare it; sizes in bytes.

    Attributes:
        kind: number of enum bpf_map_type.
        key_type, value_type: the C types as BCC describes them, in JSON.
    """

    name: str
    kind: int
    key_size: int
    value_size: int
    entries: int
    flags: int
    key_type: str
    value_type: str


@dataclass(frozen=True, slots=True)
class Function:
    """A program without its type.

    Attributes:
        code: instructions; the loads of map descriptors hold no valid number yet.
        maps: (index of the instruction, index of the map) of each such load.
    """

    name: str
    code: bytes
    maps: tuple[tuple[int, int], ...]

    def bound(self, descriptors: list[int]) -> bytes:
        """The code with the maps' descriptors in place; one for each map."""
        code = bytearray(self.code)
        for at, index in self.maps:
            struct.pack_into("=i", code, at * INSTRUCTION + 4, descriptors[index])
        return bytes(code)


@dataclass(frozen=True, slots=True)
class Compiled:
    """Everything that a kernel half is made of.

    Attributes:
        maps, functions: in the compiler's order.
        made_by: (path, size, time of change in ns) of each file of the compiler.
    """

    maps: tuple[MapDefinition, ...]
    functions: tuple[Function, ...]
    made_by: tuple[tuple[str, int, int], ...] = field(default=())

    @classmethod
    def joined(cls, parts: Sequence[Compiled]) -> Compiled:
        """One of several that were made of shares of one text.

        Raises:
            ValueError: their maps differ.
        """
        if any(part.maps != parts[0].maps for part in parts):
            raise ValueError("the parts have different maps")
        functions = {function.name: function for part in parts for function in part.functions}
        files = {file for part in parts for file in part.made_by}
        return cls(
            parts[0].maps,
            tuple(functions[name] for name in sorted(functions)),
            tuple(sorted(files)),
        )

    def encode(self) -> bytes:
        """As bytes, with a digest that tells damage."""
        head = {
            "made_by": self.made_by,
            "maps": [astuple(m) for m in self.maps],
            "functions": [[f.name, len(f.code), f.maps] for f in self.functions],
        }
        text = json.dumps(head, separators=(",", ":")).encode()
        body = _LENGTH.pack(len(text)) + text + b"".join(f.code for f in self.functions)
        return _MAGIC + hashlib.sha256(body).digest() + body

    @classmethod
    def decode(cls, data: bytes) -> Compiled:
        """The value of these bytes.

        Raises:
            ValueError: they are of another version, or damaged.
        """
        if not data.startswith(_MAGIC):
            raise ValueError("it is not of this version")
        digest = data[len(_MAGIC) : len(_MAGIC) + _DIGEST]
        body = memoryview(data)[len(_MAGIC) + _DIGEST :]
        if hashlib.sha256(body).digest() != digest:
            raise ValueError("it is damaged")
        try:
            (length,) = _LENGTH.unpack_from(body)
            at = _LENGTH.size + length
            head: dict[str, Any] = json.loads(bytes(body[_LENGTH.size : at]))
            maps = tuple(MapDefinition(*fields) for fields in head["maps"])
            functions = []
            for name, size, used in head["functions"]:
                code = bytes(body[at : at + size])
                pairs = tuple((where, index) for where, index in used)
                functions.append(Function(name, code, pairs))
                at += size
            files = tuple((path, size, time) for path, size, time in head["made_by"])
        except (KeyError, TypeError, RecursionError, struct.error) as error:
            raise ValueError(f"it is damaged ({error})") from None
        made = cls(maps, tuple(functions), files)
        made._check()
        return made

    def _check(self) -> None:
        for function in self.functions:
            count, rest = divmod(len(function.code), INSTRUCTION)
            if not count or rest:
                raise ValueError(f"{function.name} has no whole instructions")
            for at, index in function.maps:
                if not (0 <= at < count and 0 <= index < len(self.maps)):
                    raise ValueError(f"{function.name} uses what is not there")
