"""Strings of header blocks (RFC 7541, 5.2 and appendix B), decoded a byte at a time.

The code itself is the ``hpack`` library's table; its own decoder takes half-bytes and costs
three times as much. What was decoded is remembered: names and values repeat.
"""

from __future__ import annotations

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

_EOS = 256
_MAX_REMEMBERED = 4096
_MAX_REMEMBERED_SIZE = 128


def _tree() -> list[list[int]]:
    """Inner nodes, each with what follows a 0 and a 1: a node, or ~symbol."""
    nodes = [[0, 0]]
    for symbol, (code, length) in enumerate(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True)):
        at = 0
        for bit in range(length - 1, 0, -1):
            way = code >> bit & 1
            if not nodes[at][way]:
                nodes.append([0, 0])
                nodes[at][way] = len(nodes) - 1
            at = nodes[at][way]
        nodes[at][code & 1] = ~symbol
    return nodes


_NODES = _tree()
_STEPS: dict[int, tuple[int, bytes]] = {}
"""node << 8 | byte -> node reached << 8, symbols on the way. Made as it is needed."""
_STRINGS: dict[bytes, str] = {}


def _step(key: int) -> tuple[int, bytes]:
    at, byte = key >> 8, key & 0xFF
    symbols = bytearray()
    for bit in range(7, -1, -1):
        at = _NODES[at][byte >> bit & 1]
        if at < 0:
            if ~at == _EOS:
                return -1, b""
            symbols.append(~at)
            at = 0
    _STEPS[key] = found = at << 8, bytes(symbols)
    return found


def huffman(coded: bytes) -> str | None:
    """The text of a Huffman-coded string; None where it is none."""
    known = _STRINGS.get(coded)
    if known is not None:
        return known
    state = 0
    out = []
    steps = _STEPS
    for byte in coded:
        state, symbols = steps.get(state | byte) or _step(state | byte)
        if state < 0:
            return None
        out.append(symbols)
    found = plain(b"".join(out))
    if len(coded) <= _MAX_REMEMBERED_SIZE:
        # Clearing all at once is the cheapest bound; a working set refills in one round.
        if len(_STRINGS) >= _MAX_REMEMBERED:
            _STRINGS.clear()
        _STRINGS[coded] = found
    return found


def plain(value: bytes) -> str:
    """UTF-8 where it is valid, else Latin-1: never fails, never loses a byte's value."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
