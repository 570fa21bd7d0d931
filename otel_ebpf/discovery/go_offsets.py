"""Which Go struct fields the tracer reads, and where they are in each Go version.

A program's own debugging data is asked first. A stripped program gets its offsets
from ``go_offsets.json``, which ``scripts/gen-go-offsets`` makes from programs that
real toolchains built. ``docs/go.md`` lists the fields.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from otel_ebpf.discovery.elf import ElfError, ElfImage
from otel_ebpf.discovery.go_dwarf import struct_members
from otel_ebpf.errors import OtelEbpfError

_log = logging.getLogger(__name__)

Path = tuple[tuple[str, str], ...]
"""A field as steps of (struct, member); its offset is the sum."""


def _field(path: str, *inner: tuple[str, str]) -> Path:
    struct, _, member = path.rpartition(".")
    return ((struct, member), *inner)


FIELDS: Mapping[str, Path] = {
    "runtime.g.stack.hi": _field("runtime.g.stack", ("runtime.stack", "hi")),
    "runtime.g.m": _field("runtime.g.m"),
    "runtime.g.goid": _field("runtime.g.goid"),
    "runtime.g.parentGoid": _field("runtime.g.parentGoid"),
    "runtime.g.startpc": _field("runtime.g.startpc"),
    "runtime.m.p": _field("runtime.m.p"),
    "runtime.p.goidcache": _field("runtime.p.goidcache"),
    "runtime.p.goidcacheend": _field("runtime.p.goidcacheend"),
    "runtime.schedt.goidgen": _field("runtime.schedt.goidgen"),
    "runtime.sudog.g": _field("runtime.sudog.g"),
    "runtime.hchan.qcount": _field("runtime.hchan.qcount"),
    "runtime.hchan.buf": _field("runtime.hchan.buf"),
    "runtime.hchan.elemsize": _field("runtime.hchan.elemsize"),
    "runtime.hchan.recvx": _field("runtime.hchan.recvx"),
    "runtime.hchan.recvq.first": _field("runtime.hchan.recvq", ("runtime.waitq", "first")),
    "net/http.persistConn.conn": _field("net/http.persistConn.conn"),
    "net/http.persistConn.reqch": _field("net/http.persistConn.reqch"),
    "net/http.requestAndChan.req": _field("net/http.requestAndChan.req"),
    "net/http.requestAndChan.treq": _field("net/http.requestAndChan.treq"),
    "net/http.requestAndChan.ch": _field("net/http.requestAndChan.ch"),
    "net/http.transportRequest.Request": _field("net/http.transportRequest.Request"),
    "net/http.transportRequest.ctx": _field("net/http.transportRequest.ctx"),
    "net/http.Request.ctx": _field("net/http.Request.ctx"),
    "net/http.conn.rwc": _field("net/http.conn.rwc"),
    "net/http.conn.cancelCtx": _field("net/http.conn.cancelCtx"),
    "net/http.conn.curReq": _field("net/http.conn.curReq"),
    "net/http.response.req": _field("net/http.response.req"),
    "net.conn.fd": _field("net.conn.fd"),
    "net.netFD.pfd.Sysfd": _field("net.netFD.pfd", ("internal/poll.FD", "Sysfd")),
    "crypto/tls.Conn.conn": _field("crypto/tls.Conn.conn"),
    "context.valueCtx.parent": _field("context.valueCtx.Context"),
    "context.cancelCtx.parent": _field("context.cancelCtx.Context"),
    "context.timerCtx.parent": _field(
        "context.timerCtx.cancelCtx", ("context.cancelCtx", "Context")
    ),
    "context.withoutCancelCtx.parent": _field("context.withoutCancelCtx.c"),
    "context.afterFuncCtx.parent": _field(
        "context.afterFuncCtx.cancelCtx", ("context.cancelCtx", "Context")
    ),
    "context.stopCtx.parent": _field("context.stopCtx.Context"),
}
"""Every offset by its name. ``docs/go.md`` has the same list with its meaning."""

# Experiments that leave every struct above as it is.
_HARMLESS = frozenset({"boringcrypto", "nodwarf5", "dwarf5", "jsonv2", "nojsonv2"})
_VERSION = re.compile(r"go(\d+)\.(\d+)(?:\.(\d+))?")


def parse_version(text: str) -> tuple[int, int, int]:
    """``go1.24.3 X:nodwarf5`` or ``devel go1.28-abc`` as (1, 24, 3); (0, 0, 0) if neither."""
    match = _VERSION.search(text[:256])
    if match is None:
        return 0, 0, 0
    major, minor, patch = (int(part[:6]) if part else 0 for part in match.groups())
    return major, minor, patch


@dataclass(frozen=True, slots=True)
class GoOffsets:
    """Offsets in bytes by name, where they came from, and whether they are certain.

    ``source`` is "dwarf", "table" or "". Uncertain offsets must not be used to name a
    parent without another witness.
    """

    values: Mapping[str, int]
    source: str
    certain: bool


def from_dwarf(image: ElfImage) -> dict[str, int]:
    """The offsets of ``FIELDS`` that the program's debugging data tells."""
    structs = {struct for path in FIELDS.values() for struct, _ in path}
    members = struct_members(image, sorted(structs))
    found: dict[str, int] = {}
    for name, path in FIELDS.items():
        parts = [members.get(struct, {}).get(member) for struct, member in path]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            found[name] = sum(known)
    return found


@lru_cache(maxsize=1)
def table() -> dict[tuple[int, int, int], dict[str, int]]:
    """The recorded offsets by the Go version that first had them, oldest first."""
    file = resources.files("otel_ebpf.discovery").joinpath("go_offsets.json")
    try:
        raw = json.loads(file.read_text())["layouts"]
        return {parse_version(e["since"]): e["offsets"] for e in raw}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OtelEbpfError(
            f"the table of Go offsets cannot be read ({error})",
            where=str(file),
            mend="reinstall otel-ebpf",
        ) from error


@lru_cache(maxsize=1)
def recorded_versions() -> tuple[tuple[int, int, int], ...]:
    """The toolchains that the table was made from, oldest first."""
    file = resources.files("otel_ebpf.discovery").joinpath("go_offsets.json")
    return tuple(sorted(parse_version(v) for v in json.loads(file.read_text())["measured"]))


def from_table(text: str) -> GoOffsets:
    """Offsets for a Go version's text, from the table.

    Certain for a minor version whose patch releases were measured and agree around
    it; otherwise the nearest older layout, marked uncertain. Empty before the table.
    """
    version = parse_version(text)
    layouts = [since for since in table() if since <= version]
    if not layouts:
        return GoOffsets({}, "", False)
    minors = {measured[:2] for measured in recorded_versions()}
    experiments = text.partition(" X:")[2].split(" ")[0]
    odd = {e for e in experiments.split(",") if e} - _HARMLESS
    unreleased = re.search(r"devel|\drc\d|\dbeta\d", text) is not None
    certain = version[:2] in minors and not odd and not unreleased
    return GoOffsets(table()[max(layouts)], "table", certain)


def offsets_of(image: ElfImage, version: str) -> GoOffsets:
    """The best offsets for a program: its debugging data, else the table."""
    try:
        own = from_dwarf(image)
    except ElfError as error:  # the rest of the program is sound: the table will do
        _log.warning("%s", error)
        own = {}
    recorded = from_table(version)
    if "runtime.g.goid" not in own:
        # 32-bit programs are refused earlier; other 64-bit machines have the same layout,
        # but it was measured on amd64 only.
        certain = recorded.certain and image.machine == "x64"
        return GoOffsets(recorded.values, recorded.source, certain)
    return GoOffsets(own, "dwarf", True)
