"""Runs inside the guest of scripts/try-kernels: loads every program and says which took the
verifier longest; loads the kernel half in both ways, makes one exchange on loopback, and says
whether both ends of it were seen as they were; and whether a program was named that has the kernel
encrypt."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
import threading
import time
import traceback

from otel_ebpf.errors import KernelError
from otel_ebpf.events.decode import Decoder, Record
from otel_ebpf.events.layout import DATA, REQUEST, RESPONSE
from otel_ebpf.kernel import sysbpf, tries
from otel_ebpf.kernel.config import KernelConfig
from otel_ebpf.kernel.loader import HAS_KERNEL_TLS, Kernel
from otel_ebpf.kernel.obtain import Materials
from otel_ebpf.kernel.programs import Programs
from otel_ebpf.kernel.tables import create

ASKED = b"GET /answer HTTP/1.1\r\nHost: guest\r\n\r\n"
ANSWERED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n42"
COUNT = 20
UPROBES = ("go_", "kp_", "tls_", "py_", "ssl_", "node_")
TRACEPOINTS = (sysbpf.TRACEPOINT, sysbpf.RAW_TRACEPOINT)
SHOWN = 8
FINIT_MODULE, TCP_ULP = 313, 31


def exchanges(port_of: socket.socket) -> None:
    """Plain sends and receives, and those of several buffers, by turns."""
    with socket.create_connection(port_of.getsockname()) as client, port_of.accept()[0] as server:
        for number in range(COUNT):
            if number % 2:
                client.sendmsg([ASKED[:10], ASKED[10:]])
                server.recvmsg(4096)
            else:
                client.sendall(ASKED)
                server.recv(4096)
            server.sendall(ANSWERED)
            client.recv(4096)


def attempt(receives: str, reads: str) -> str:
    records: list[Record] = []
    decoder = Decoder()
    config = KernelConfig(filter_processes=True, receives=receives, task_reads=reads)
    begin = time.monotonic()
    kernel = Kernel(config)
    try:
        kernel.open_bursts(lambda _, data: records.extend(decoder.feed(data)), lambda _: None, 64)
        kernel.attach()
        ready = time.monotonic() - begin
        # The agent leaves itself out, so the traffic is a child's.
        listener = socket.create_server(("127.0.0.1", 0))
        go_read, go_write = os.pipe()
        child = os.fork()
        if not child:
            os.read(go_read, 1)
            worker = threading.Thread(target=exchanges, args=[listener])
            worker.start()
            worker.join()
            os._exit(0)
        kernel.choose([child])
        os.write(go_write, b"x")
        os.waitpid(child, 0)
        for cpu in os.sched_getaffinity(0):
            os.sched_setaffinity(0, {cpu})
            os.getppid()  # empties this processor's burst
        kernel.drain()
    finally:
        kernel.close()
    seen = [r for r in records if r.type == DATA]
    for begins, length, payload in (
        (REQUEST, len(ASKED), ASKED),
        (RESPONSE, len(ANSWERED), ANSWERED),
    ):
        for direction in (0, 1):
            found = [r for r in seen if r.begins == begins and r.direction == direction]
            assert len(found) == COUNT, f"begins {begins}, direction {direction}: {len(found)}"
            assert all(r.length == length and r.data == payload for r in found), "payload"
        sent = [r.tcp_seq for r in seen if r.begins == begins and r.direction == 1]
        received = [r.tcp_seq for r in seen if r.begins == begins and r.direction == 0]
        assert sent == received, "sequence numbers"
    how = "registers" if kernel.registers else "entries"
    return f"{how}+{'direct' if config.task_cflags(kernel.offsets) else 'calls'} in {ready:.1f} s"


def kernel_tls() -> str:
    """A process asks for another encryption, which is not there, and another for TLS."""
    module = os.open("/tls.ko", os.O_RDONLY)
    if not os.fstat(module).st_size:
        return "it has no kernel TLS"
    if ctypes.CDLL(None, use_errno=True).syscall(FINIT_MODULE, module, b"", 0):
        raise OSError(ctypes.get_errno(), "the module for TLS is refused")
    told: list[int] = []
    kernel = Kernel(KernelConfig())
    try:
        kernel.open_executions(lambda _: None, {HAS_KERNEL_TLS: told.append})
        kernel.attach()
        children = []
        for name in (b"none", b"tls"):
            child = os.fork()
            if not child:
                with (
                    socket.create_server(("127.0.0.1", 0)) as listener,
                    socket.create_connection(listener.getsockname()) as client,
                    contextlib.suppress(FileNotFoundError),
                ):
                    client.setsockopt(socket.IPPROTO_TCP, TCP_ULP, name)
                os._exit(0)
            os.waitpid(child, 0)
            children.append(child)
        kernel.drain()
    finally:
        kernel.close()
    assert told == children[1:], f"told of {told}, children {children}"
    return "kernel TLS named"


def tried() -> tuple[list[str], list[tuple[int, str]]]:
    """Programs that this kernel does not take, each with the verifier's last words; and how many
    instructions it went through for each of the others, the most first."""
    with contextlib.suppress(OSError):
        tries.raise_memlock()
    compiled = Materials(KernelConfig()).finish()[1]
    tables = {definition.name: create(definition) for definition in compiled.maps}
    programs = Programs(compiled, tables)
    found = []
    counts = []
    for function in compiled.functions:
        # Uprobe programs take registers; the others the arguments of tracepoints.
        kinds = (sysbpf.KPROBE,) if function.name.startswith(UPROBES) else TRACEPOINTS
        errors = []
        for kind in kinds:
            try:
                program = programs.load(function.name, kind)
                counts.append((programs.verified(program), function.name))
                break
            except KernelError as error:
                errors.append(str(error))
        else:
            found += errors[:1]
    programs.close()
    for table in tables.values():
        table.close()
    return found, sorted(counts, reverse=True)


def main() -> None:
    try:
        problems, counts = tried()
        largest = ", ".join(f"{name} {count}" for count, name in counts[:SHOWN])
        print(f"otel-ebpf-guest: verified {largest}", flush=True)
        if problems:
            print("\n".join(problems), flush=True)
            raise SystemExit(f"{len(problems)} programs are refused")
        said = [attempt("auto", "auto"), attempt("entries", "calls"), kernel_tls()]
        print(f"otel-ebpf-guest: good, {'; '.join(said)}", flush=True)
    except BaseException:
        with contextlib.suppress(Exception):
            traceback.print_exc(file=sys.stdout)
        print("otel-ebpf-guest: bad", flush=True)


main()
