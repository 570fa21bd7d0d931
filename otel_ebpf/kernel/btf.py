"""Structure offsets from BTF, the kernel's own type information.

The format is described in Documentation/bpf/btf.rst of the kernel: a header, a section
of types (each three words and what its kind adds) numbered from 1 in the order they
stand, and a section of strings. The kernel's 5 MB hold about 150,000 types of which a
tracer needs a dozen, so nothing is built for the others: the type section is read as
an array of words, and the walk stops at the last name that was asked for.
"""

from __future__ import annotations

import struct
from array import array
from pathlib import Path

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel import sysbpf

VMLINUX = Path("/sys/kernel/btf/vmlinux")

MEND = (
    "use a kernel built with CONFIG_DEBUG_INFO_BTF=y (all current distributions' are); "
    "in a container, do not hide the host's /sys/kernel/btf"
)

_MAGIC = 0xEB9F
_INT, _STRUCT, _UNION, _TYPEDEF = 1, 4, 5, 8
_VOLATILE, _CONST, _RESTRICT, FUNC, _TYPE_TAG = 9, 10, 11, 12, 18
_TRANSPARENT = frozenset((_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG))
# Words after the common three, by kind: a fixed number and a number for each member.
_FIXED = (0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0)
_EACH = (0, 0, 0, 0, 3, 3, 2, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 3)
_DEPTH = 32
"""How far typedefs and nested structures are followed; real kernels need 6."""


class MemberNotFound(KeyError):
    """The structure or its member is not in this kernel's BTF, or it is a bitfield."""

    def __str__(self) -> str:
        return str(self.args[0])


class Btf:
    """One kernel's type information.

    Args:
        data: the BTF section, in this machine's byte order.
        where: what error messages call it.

    Raises:
        KernelError: the bytes are no BTF, or they end early.
    """

    def __init__(self, data: bytes, where: str = str(VMLINUX)) -> None:
        self.where = where
        if len(data) < 24:
            raise self._broken(f"holds {len(data)} bytes, less than a BTF header")
        magic, version, _flags, length, type_at, type_size, text_at, text_size = struct.unpack_from(
            "=HBBIIIII", data
        )
        if magic != _MAGIC:
            raise self._broken(f"starts with {magic:#06x}, not with BTF's {_MAGIC:#06x}")
        if version != 1:
            raise self._broken(f"is BTF version {version}; this program reads version 1")
        types = length + type_at
        self._text = length + text_at
        self._text_end = self._text + text_size
        if types + type_size > len(data) or self._text_end > len(data) or type_size % 4:
            raise self._broken("is shorter than its header says")
        self._data = data
        self._words = memoryview(data)[types : types + type_size].cast("I")
        self._starts = array("I", (0,))  # word position of each type met so far, by type id
        self._next = 0  # word position where the walk goes on
        self._found: dict[tuple[int, str], int] = {}

    @classmethod
    def load(cls, path: Path = VMLINUX) -> Btf:
        """The running kernel's BTF: from ``path``, else from the kernel by object id.

        The second way needs CAP_SYS_ADMIN and works where a container hides the file.

        Raises:
            KernelError: neither way gives BTF.
        """
        try:
            data = path.read_bytes()
            reason = "is empty" if not data else ""
        except OSError as error:
            data, reason = b"", f"cannot be read: {error.strerror or error}"
        if data:
            return cls(data, str(path))
        try:
            return cls(sysbpf.kernel_btf(), "kernel BTF object")
        except OSError as error:
            raise KernelError(
                f"no type information: the file {reason} and the kernel does not hand it "
                f"out by id either ({error.strerror or error})",
                where=str(path),
                mend=MEND,
            ) from None

    def find(self, names: set[str], kinds: tuple[int, ...] = (_STRUCT, _UNION)) -> None:
        """Locate the first type of each name, all in one walk.

        ``offset`` does it by itself for one name; giving the names together at the
        start lets the walk stop at the last one. Names that do not exist cost a walk
        to the end.
        """
        wanted: dict[int, str] = {}
        for name in names:
            if any((kind, name) in self._found for kind in kinds):
                continue
            for at in self._string_offsets(name):
                wanted[at] = name
        left = {wanted[at] for at in wanted}
        if not left:
            return
        # A type id that was numbered on behalf of another walk may be one that is wanted now.
        words = self._words
        for position in self._starts[1:]:
            info = words[position + 1]
            if (info >> 24) & 31 in kinds and words[position] in wanted:
                name = wanted[words[position]]
                self._found.setdefault(((info >> 24) & 31, name), position)
                left.discard(name)
        self._walk(wanted, left, kinds)

    def offset(self, path: str) -> int:
        """Byte offset of a member, as in ``offset("task_struct.thread.fsbase")``.

        Members of anonymous structures and unions belong to the structure around
        them, as in C; a further name steps into an embedded structure.

        Raises:
            MemberNotFound: no such structure or member, or it is a bitfield.
            KernelError: the BTF is damaged.
        """
        name, *members = path.split(".")
        self.find({name})
        position = self._found.get((_STRUCT, name), self._found.get((_UNION, name)))
        if position is None or not members:
            raise MemberNotFound(f"{path}: there is no struct {name} in {self.where}")
        total = 0
        for step, member in enumerate(members):
            try:
                hit = self._member(position, member.encode() + b"\0", 0)
            except IndexError:
                raise self._broken("names a type that is not there") from None
            if hit is None:
                raise MemberNotFound(f"{path}: there is no member {member} in {self.where}")
            bits, type_id, bitfield = hit
            if bitfield:
                raise MemberNotFound(f"{path}: {member} is a bitfield and has no byte offset")
            total += bits // 8
            if step + 1 < len(members):
                position = self._resolve(type_id)
        return total

    def function_id(self, name: str) -> int:
        """The BTF id of a function, which fentry programs are loaded with.

        Raises:
            MemberNotFound: the kernel's BTF has no such function.
        """
        return self._id(FUNC, name, "function")

    def struct_id(self, name: str) -> int:
        """The BTF id of a structure.

        Raises:
            MemberNotFound: the kernel's BTF has no such structure.
        """
        return self._id(_STRUCT, name, "struct")

    def _id(self, kind: int, name: str, word: str) -> int:
        self.find({name}, (kind,))
        position = self._found.get((kind, name))
        if position is None:
            raise MemberNotFound(f"there is no {word} {name} in {self.where}")
        return self._starts.index(position, 1)

    def _walk(
        self, wanted: dict[int, str], left: set[str], kinds: tuple[int, ...], until: int = 0
    ) -> None:
        """Number types from where the last walk stopped, until all of ``left`` is
        found or, with ``until``, that type id is reached."""
        words, starts, position = self._words, self._starts, self._next
        append = starts.append
        end = len(words)
        kinds_in = frozenset(kinds)
        try:
            while position < end:
                info = words[position + 1]
                kind = (info >> 24) & 31
                append(position)
                if kind in kinds_in and words[position] in wanted:
                    name = wanted[words[position]]
                    self._found.setdefault((kind, name), position)
                    left.discard(name)
                position += 3 + _FIXED[kind] + _EACH[kind] * (info & 0xFFFF)
                if (not left and not until) or (until and len(starts) > until):
                    break
        except IndexError:
            raise self._broken(f"has a damaged type number {len(starts)}") from None
        if position > end:
            raise self._broken(f"ends within type number {len(starts) - 1}")
        self._next = position

    def _at(self, type_id: int) -> int:
        if type_id >= len(self._starts):
            self._walk({}, set(), (), until=type_id)
        if not 0 < type_id < len(self._starts):
            raise self._broken(f"refers to type number {type_id}, which it does not have")
        return self._starts[type_id]

    def _resolve(self, type_id: int) -> int:
        """Position of the type behind typedefs and qualifiers."""
        for _ in range(_DEPTH):
            position = self._at(type_id)
            if (self._words[position + 1] >> 24) & 31 not in _TRANSPARENT:
                return position
            type_id = self._words[position + 2]
        raise self._broken(f"chains more than {_DEPTH} typedefs")

    def _member(self, position: int, name: bytes, depth: int) -> tuple[int, int, bool] | None:
        """(offset in bits, type id, is a bitfield) of the member named ``name``."""
        if depth > _DEPTH:
            raise self._broken(f"nests more than {_DEPTH} structures")
        words, data, text = self._words, self._data, self._text
        info = words[position + 1]
        if (info >> 24) & 31 not in (_STRUCT, _UNION):
            return None
        sized = info >> 31
        for at in range(position + 3, position + 3 + 3 * (info & 0xFFFF), 3):
            title, type_id, bits = words[at], words[at + 1], words[at + 2]
            width = bits >> 24 if sized else 0
            bits = bits & 0xFFFFFF if sized else bits
            if data.startswith(name, text + title):
                return bits, type_id, bool(width or bits % 8 or self._is_bitfield_int(type_id))
            if not data[text + title]:
                inner = self._member(self._resolve(type_id), name, depth + 1)
                if inner is not None:
                    return bits + inner[0], inner[1], inner[2]
        return None

    def _is_bitfield_int(self, type_id: int) -> bool:
        """Older encoders put a bitfield's width into an integer type of its own."""
        if type_id == 0:
            return False
        position = self._resolve(type_id)
        if (self._words[position + 1] >> 24) & 31 != _INT:
            return False
        encoding = self._words[position + 3]
        return (encoding & 0xFF) != self._words[position + 2] * 8 or bool(encoding >> 16 & 0xFF)

    def _string_offsets(self, name: str) -> list[int]:
        """Every place in the string section that reads ``name``. BTF may keep a
        string twice, or as the tail of a longer one."""
        needle, found = name.encode() + b"\0", []
        at = self._data.find(needle, self._text, self._text_end)
        while at >= 0:
            found.append(at - self._text)
            at = self._data.find(needle, at + 1, self._text_end)
        return found

    def _broken(self, why: str) -> KernelError:
        return KernelError(f"the type information {why}", where=self.where, mend=MEND)
