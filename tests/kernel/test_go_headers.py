"""Header blocks that a program tells, also one whose memory lies about them."""

from __future__ import annotations

import subprocess

from otel_ebpf.discovery.elf import ElfImage
from otel_ebpf.discovery.go_symbols import from_symtab
from otel_ebpf.events.layout import HEADERS
from otel_ebpf.kernel.config import KernelConfig
from otel_ebpf.protocols.http2_told import Block, read_block
from tests.cbuild import build_c
from tests.kernel.tracer import Tracer

PROBES = {
    "write_header": "go_grpc_write_header",
    "client_field": "go_client_field",
    "client_write": "go_h2_client_write",
}
STATUS = (":status", "200")


def told() -> tuple[dict[int, Block], dict[str, int]]:
    """What the program's calls became, by stream, and the counters."""
    path = build_c("headers")
    with ElfImage(path) as image:
        places = {
            name: image.file_offset(symbol.vaddr)
            for name, symbol in from_symtab(image, PROBES).items()
        }
    config = KernelConfig(filter_processes=True, header_blocks=True)
    with (
        Tracer(config) as tracer,
        subprocess.Popen(
            [path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        tracer.choose(process.pid)
        tracer.kernel.set_process(
            process.pid,
            {
                **{f"headers.{name}": 0 for name in ("loopy_framer", "framer_writer")},
                "headers.writer_conn": 0,
                "headers.cc_conn.0": 0,
                "headers.on": 1,
                "headers.tcp_type": int(process.stdout.readline()),
                "fd_sysfd": 16,
            },
        )
        for name, program in PROBES.items():
            offset = places[name]
            assert offset is not None
            tracer.kernel.attach_uprobe(str(path), offset, program)
        process.stdin.write("go\n")
        assert process.stdout.readline() == "done\n"
        records = tracer.of(process.pid, kind=HEADERS)
        process.stdin.write("end\n")
        stats = tracer.kernel.stats()
        assert not list(tracer.kernel.table("header_block_map").keys())
    assert len({r.socket_id for r in records}) == 1
    assert {(r.direction, r.protocol) for r in records} == {(1, 21)}
    assert len({r.length for r in records}) == len(records)
    return {r.length: read_block(r.data, r.ref_ts, r.tcp_seq) for r in records}, stats


def test_what_can_be_read_is_told_and_the_rest_is_known_to_be_missing() -> None:
    blocks, stats = told()
    assert blocks[1] == Block([STATUS, ("empty", "")], False, None)
    for stream in (3, 5, 7, 9, 11):
        assert blocks[stream] == Block([STATUS], True, None), stream
    assert blocks[13].cut
    assert set(blocks[13].fields) == {("n", "v")}
    assert 300 <= len(blocks[13].fields) < 400
    assert blocks[15] == blocks[1], "a connection in another"
    assert not {0, 17, 19, 21} & blocks.keys()
    assert blocks[23] == Block([], True, None)
    # A field that is told again, word for word and from the same place, was told once.
    assert blocks[25] == Block([(":path", "/a"), ("x", "1")], False, None)
    assert 27 not in blocks, "a block without fields"
    assert blocks[29] == Block([("wide", "w" * 2000)] * 2, True, None)
    assert stats["headers_unplaced"] == 2
    assert stats["headers_crowded"] == stats["burst_lost"] == 0
