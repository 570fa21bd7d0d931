"""What the kernel half is told of a Go process: members of ``struct proc_info_t``."""

from __future__ import annotations

from collections.abc import Mapping

from otel_ebpf.discovery.go_binary import GoBinary
from otel_ebpf.discovery.go_callers import loop_members, stream_members
from otel_ebpf.discovery.go_identity import TLS, identity_members
from otel_ebpf.discovery.go_tls_calls import tls_members

# member of struct proc_info_t -> name in go_fields.FIELDS
_RUNTIME = {
    "g_goid": "runtime.g.goid",
    "p_goidcache": "runtime.p.goidcache",
    "p_goidcacheend": "runtime.p.goidcacheend",
}
_HTTP1_SERVER = {
    "conn_rwc": "net/http.conn.rwc",
    "conn_cancel_ctx": "net/http.conn.cancelCtx",
    "conn_cur_req": "net/http.conn.curReq",
    "response_req": "net/http.response.req",
    "request_ctx": "net/http.Request.ctx",
    "fd_sysfd": "net.netFD.pfd.Sysfd",
}
_HTTP1_CLIENT = {
    "sudog_g": "runtime.sudog.g",
    "hchan_qcount": "runtime.hchan.qcount",
    "hchan_buf": "runtime.hchan.buf",
    "hchan_recvq": "runtime.hchan.recvq.first",
    "pc_conn": "net/http.persistConn.conn",
    "pc_reqch": "net/http.persistConn.reqch",
    "rc_ch": "net/http.requestAndChan.ch",
    "request_ctx": "net/http.Request.ctx",
    "fd_sysfd": "net.netFD.pfd.Sysfd",
}
_HTTP1 = {**_HTTP1_SERVER, **_HTTP1_CLIENT}
READ_LOOP = "net/http.(*persistConn).readLoop"
SERVE = "net/http.(*conn).serve"
CLIENT = (READ_LOOP, "go_persist_conn_read_loop")
_CUR_REQ_POINTER = (1, 20, 0)


def process_members(
    go: GoBinary, load_bias: int, way: int | None = TLS, births: bool = False
) -> dict[str, int]:
    """Members of ``struct proc_info_t`` for a Go process.

    ``go`` is 1 where goroutines can be told apart, ``http1`` where net/http's client
    and server connections can be read as well. ``way`` and ``births`` are those of
    ``go_identity``.
    """
    offsets = go.offsets
    absent = -1
    members: dict[str, int] = {
        "g_parent_goid": offsets.get("runtime.g.parentGoid", absent),
        "g_startpc": offsets.get("runtime.g.startpc", absent),
        "rc_treq": absent,
        "rc_req": absent,
        "treq_ctx": absent,
        "go": 0,
        "http1": 0,
        "allp": 0,
        "goidgen": 0,
        "tls_g": go.g_tls_offset or 0,
        **tls_members(go),
        "tls_conn": offsets.get("crypto/tls.Conn.conn", absent),
    }
    for member, name in {**_RUNTIME, **_HTTP1}.items():
        members[member] = offsets.get(name, absent)
    members["go"] = 1
    members.update(identity_members(go, way, births))
    if way is None or members["g_goid"] < 0:
        # Its goroutines cannot be told apart: nothing carries anything, no thread either.
        members["g_goid"] = absent
        return members
    generation = offsets.get("runtime.schedt.goidgen", absent)
    known = "runtime.sched" in go.addresses and "runtime.allp" in go.addresses
    together = members["p_goidcacheend"] == members["p_goidcache"] + 8
    if known and generation >= 0 and members["p_goidcache"] >= 0 and together:
        members["goidgen"] = go.addresses["runtime.sched"] + load_bias + generation
        members["allp"] = go.addresses["runtime.allp"] + load_bias
    members.update(stream_members(go))
    members.update(loop_members(go, members, load_bias))
    members["rc_treq"] = offsets.get("net/http.requestAndChan.treq", absent)
    members["treq_ctx"] = offsets.get("net/http.transportRequest.ctx", absent)
    members["rc_req"] = offsets.get("net/http.requestAndChan.req", absent)
    if members["treq_ctx"] < 0:
        members["rc_treq"] = absent
    if go.version < _CUR_REQ_POINTER and members["conn_cur_req"] >= 0:
        members["conn_cur_req"] += 8  # an atomic.Value: a type, then the pointer
    # A program without a client lacks the client's structures, and the other way round.
    members["http1"] = int(bool(http1_probes(members)))
    return members


def http1_probes(members: Mapping[str, int]) -> list[tuple[str, str]]:
    """(function, BPF program) for each side of net/http's HTTP/1 that is known."""
    probes = []
    request = max(members["rc_treq"], members["rc_req"])
    if request >= 0 and all(members[member] >= 0 for member in _HTTP1_CLIENT):
        probes.append(CLIENT)
    if all(members[member] >= 0 for member in _HTTP1_SERVER):
        probes.append((SERVE, "go_conn_serve"))
    return probes
