"""The closing account: what was seen, what became of it, and why the rest did not."""

from __future__ import annotations

from collections.abc import Mapping

_FIRST = ("records_seen", "exchanges", "spans_exported", "records_lost", "spans_dropped")

EXPLAINED = {
    "burst_lost": "records lost: the agent read too slowly and the perf buffer was full",
    "records_lost_with_bursts": "records that never arrived, by the bursts' own numbering",
    "unknown_protocol": "segments of sockets that speak no known protocol",
    "read_fault": "payloads that could not be read from the program's memory",
    "socket_map_full": "sockets not followed: the map was full",
    "trace_map_full": "requests not carried: the map was full",
    "args_map_full": "system calls not followed: the map was full",
    "tls_unplaced": "calls of TLS libraries whose socket is not known, that may have begun before "
    "(joined midway), or whose buffer was gone when its bytes left",
    "tls_crowded": "reads of TLS not recorded: too many at work on one CPU",
    "processes_with_tls_not_readable": "they speak TLS by other means than crypto/tls and OpenSSL",
    "processes_with_quic": "QUIC, and HTTP/3 over it, is not read",
    "processes_with_kernel_tls": "what the kernel encrypts for them (kTLS) is not read",
    "port_refused": "sockets outside the chosen ports",
    "own_traffic": "segments of the agent's own export, or of sockets left alone",
    "telemetry_exports_left_out": "requests that carry telemetry themselves",
    "http2_gaps": "places in HTTP/2's streams at which bytes passed that no probe saw",
    "http2_not_read": "segments of HTTP/2 whose bytes were not in the program's memory",
    "http2_no_frame": "segments of HTTP/2 without a frame where one had to be",
    "requests_in_flight_at_end": "requests without a response when the agent stopped",
    "responses_after_end": "responses of streams that had been reset",
    "responses_without_request": "responses whose request was before the agent's time, or was lost",
    "spans_not_built": "a fault of the agent's; the log has the first ten",
    "records_late": "records behind the watermark, taken all the same",
}
"""Reasons in words; other counters speak for themselves."""


def ledger_lines(totals: Mapping[str, int], details: Mapping[str, int]) -> list[str]:
    """Lines ``name: number`` with the totals first and then every count that is not 0."""
    lines = ["otel-ebpf ledger"]
    for name in _FIRST:
        lines.append(f"  {name.replace('_', ' ')}: {totals.get(name, 0)}")
    for name in sorted(details):
        if details[name] and name not in _FIRST:
            why = f"  ({EXPLAINED[name]})" if name in EXPLAINED else ""
            lines.append(f"    {name}: {details[name]}{why}")
    return lines
