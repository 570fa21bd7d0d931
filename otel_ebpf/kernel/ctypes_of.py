"""Python types for the keys and values of maps, from BCC's description of the C types."""

from __future__ import annotations

import ctypes as ct
import json
from typing import Any

_PLAIN: dict[str, Any] = {
    "_Bool": ct.c_bool,
    "char": ct.c_char,
    "wchar_t": ct.c_wchar,
    "signed char": ct.c_byte,
    "unsigned char": ct.c_ubyte,
    "short": ct.c_short,
    "unsigned short": ct.c_ushort,
    "int": ct.c_int,
    "unsigned int": ct.c_uint,
    "long": ct.c_long,
    "unsigned long": ct.c_ulong,
    "long long": ct.c_longlong,
    "unsigned long long": ct.c_ulonglong,
    "float": ct.c_float,
    "double": ct.c_double,
    "void *": ct.c_void_p,
    "__int128": ct.c_int64 * 2,
    "unsigned __int128": ct.c_uint64 * 2,
}


def type_of(description: str) -> Any:
    """The ctypes type of a key or a value.

    Args:
        description: JSON: a C type's name, or ``[name, members, kind]`` with a list for
            each member: name, type, and where it has one the array's or the bitfield's
            size; BCC names the bytes of padding too.

    Raises:
        ValueError: it describes something else.
    """
    return _type(json.loads(description))


def _type(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return _PLAIN[value]
        except KeyError:
            raise ValueError(f"unknown C type {value!r}") from None
    name, members, *kind = value
    base: Any = ct.Union if kind == ["union"] else ct.Structure
    nameless = []
    fields: list[Any] = []
    for index, member in enumerate(members):
        field, kind_of, *size = member
        if isinstance(kind_of, list) and size and isinstance(size[0], str):
            # A struct or union in place: [name, members, "struct"], its name the member's.
            if not field:
                field = f"__nameless{index}"
                nameless.append(field)
            fields.append((field, _type(member)))
        elif size and isinstance(size[0], list):
            fields.append((field, _type(kind_of) * size[0][0]))
        elif size and isinstance(size[0], int):
            fields.append((field, _type(kind_of), size[0]))
        else:
            fields.append((field, _type(kind_of)))
    body: dict[str, Any] = {"_anonymous_": nameless}
    if kind == ["struct_packed"]:
        body["_pack_"] = 1
        body["_layout_"] = "ms"  # what _pack_ means since Python 3.14 wants it said
    body["_fields_"] = fields
    return type(str(name) or "nameless", (base,), body)
