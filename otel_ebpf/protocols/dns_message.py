"""One DNS message, RFC 1035 with EDNS (RFC 6891), read as far as it is of interest.

Every walk is bounded: a name by its 255 bytes, with pointers that only lead backwards, and the
records by the bytes that they take.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

HEADER = struct.Struct(">HHHHHH")
_QUESTION = struct.Struct(">HH")
_RECORD = struct.Struct(">HHIH")
QUERY, NOTIFY, UPDATE = 0, 4, 5
A, SOA, AAAA, OPT, IXFR, AXFR = 1, 6, 28, 41, 251, 252
MAX_NAME = 255
MAX_QUESTIONS = 16
MAX_ANSWERS = 16
"""Addresses that are kept of one answer."""


def _table(text: str) -> dict[int, str]:
    pairs = (pair.partition(":") for pair in text.split())
    return {int(number): name for number, _, name in pairs}


TYPES = _table(
    "1:A 2:NS 5:CNAME 6:SOA 12:PTR 13:HINFO 15:MX 16:TXT 17:RP 18:AFSDB 24:SIG "
    "25:KEY 28:AAAA 29:LOC 33:SRV 35:NAPTR 36:KX 37:CERT 39:DNAME 41:OPT 42:APL "
    "43:DS 44:SSHFP 45:IPSECKEY 46:RRSIG 47:NSEC 48:DNSKEY 49:DHCID 50:NSEC3 "
    "51:NSEC3PARAM 52:TLSA 53:SMIMEA 55:HIP 59:CDS 60:CDNSKEY 61:OPENPGPKEY 62:CSYNC "
    "63:ZONEMD 64:SVCB 65:HTTPS 99:SPF 108:EUI48 109:EUI64 249:TKEY 250:TSIG "
    "251:IXFR 252:AXFR 255:ANY 256:URI 257:CAA 32768:TA 32769:DLV"
)
CODES = _table(
    "0:NOERROR 1:FORMERR 2:SERVFAIL 3:NXDOMAIN 4:NOTIMP 5:REFUSED 6:YXDOMAIN "
    "7:YXRRSET 8:NXRRSET 9:NOTAUTH 10:NOTZONE 16:BADVERS 17:BADKEY 18:BADTIME "
    "19:BADMODE 20:BADNAME 21:BADALG 22:BADTRUNC 23:BADCOOKIE"
)
_ESCAPES = {0x5C: "\\\\", 0x22: '\\"', 0x2E: "\\.", 9: "\\t", 10: "\\n", 13: "\\r"}
"""What the semantic conventions ask for, and the dot within a label."""
_TEXT = tuple(_ESCAPES.get(c) or (chr(c) if 32 <= c < 127 else f"\\{c:03d}") for c in range(256))
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


class DnsMessage(NamedTuple):
    """A query or an answer.

    Attributes:
        number: its id.
        answer: it is one.
        name, type: of the first question; "" and 0 where there is none.
        questions: how many.
        code: of an answer, with EDNS's upper bits.
        truncated: the server says that there is more (TC).
        addresses: of A and AAAA records among the answers, as text, at most ``MAX_ANSWERS``.
        soas: SOA records among them: where a zone's transfer begins and ends.
        cut: what was captured ends before the message does.
    """

    number: int
    answer: bool
    opcode: int
    name: str
    type: int
    questions: int
    code: int
    truncated: bool
    addresses: tuple[str, ...]
    soas: int
    cut: bool

    @property
    def about(self) -> tuple[str, int]:
        """What it is about: names are the same whatever their case."""
        return self.name.lower(), self.type


class _CutError(Exception):
    """The bytes that were captured end here."""


def read_name(data: bytes, at: int, text: bool = True) -> tuple[str, int]:
    """The name at ``at``, without the last dot (the root is ``.``), and where it ends.

    Raises:
        ValueError: no name is like that.
        _CutError: it is not there to its end.
    """
    labels: list[str] = []
    end = -1
    length = 0
    least = at
    while True:
        if at >= len(data):
            raise _CutError
        size = data[at]
        if size >= 0xC0:
            if at + 2 > len(data):
                raise _CutError
            to = (size & 0x3F) << 8 | data[at + 1]
            if end < 0:
                end = at + 2
            if to >= least or to < HEADER.size:  # only backwards, so it comes to an end
                raise ValueError("pointer")
            at = least = to
            continue
        if size > 63:
            raise ValueError("label")
        at += 1
        if not size:
            break
        length += size + 1
        if length >= MAX_NAME:
            raise ValueError("name")
        label = data[at : at + size]
        if len(label) < size:
            raise _CutError
        if text:
            plain = _PLAIN.issuperset(label)
            labels.append(label.decode() if plain else "".join(_TEXT[c] for c in label))
        at += size
    return ".".join(labels) or ".", end if end >= 0 else at


def read_message(data: bytes, length: int) -> DnsMessage | None:
    """The message of ``length`` bytes of which ``data`` was captured; None: it is none.

    What is asked for must be there, and a query must be well-formed to its last byte.
    """
    if len(data) < HEADER.size:
        return None
    number, flags, asked, answers, authorities, others = HEADER.unpack_from(data)
    opcode = flags >> 11 & 15
    answer = bool(flags & 0x8000)
    if opcode not in (QUERY, NOTIFY, UPDATE) or flags & 0x40 or asked > MAX_QUESTIONS:
        return None
    if not (asked or answer):
        return None
    at = HEADER.size
    name, kind = "", 0
    code = flags & 15
    addresses: list[str] = []
    soas = 0
    cut = length > len(data)
    try:
        for index in range(asked):
            text, at = read_name(data, at, index == 0)
            if at + _QUESTION.size > len(data):
                raise _CutError
            if index == 0:
                name = text
                kind = _QUESTION.unpack_from(data, at)[0]
            at += _QUESTION.size
        for index in range(answers + authorities + others):
            _, at = read_name(data, at, False)
            if at + _RECORD.size > len(data):
                raise _CutError
            type_, _, ttl, size = _RECORD.unpack_from(data, at)
            at += _RECORD.size
            value = data[at : at + size]
            at += size
            if len(value) < size:
                raise _CutError
            if index < answers:
                soas += type_ == SOA
                if len(addresses) < MAX_ANSWERS:
                    if type_ == A and size == 4:
                        addresses.append(str(IPv4Address(value)))
                    elif type_ == AAAA and size == 16:
                        addresses.append(str(IPv6Address(value)))
            elif type_ == OPT and index >= answers + authorities:
                code |= ttl >> 24 << 4
    except _CutError:
        if not name and asked:
            return None
        if not (cut or answer):
            return None
        cut = True
    except ValueError:
        return None
    else:
        if at != length and not answer:
            return None
    if not answer:
        code = 0
    truncated = bool(flags & 0x200)
    return DnsMessage(
        *(number, answer, opcode, name, kind, asked, code, truncated),
        *(tuple(addresses), soas, cut),
    )
