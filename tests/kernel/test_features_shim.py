"""The header shim: BCC compiles and loads with it and with nothing else of the kernel's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHIM = Path(__file__).resolve().parents[2] / "bpf" / "shim"

PROGRAM = r"""
import ctypes, os, sys
from bcc import BPF

TEXT = '''
struct record { u64 ip; __be16 port; bool seen; };
BPF_HASH(calls, u32, u64);
BPF_PERF_OUTPUT(records);
BPF_RINGBUF_OUTPUT(ring, 8);
BPF_PERCPU_ARRAY(scratch, struct record, 1);
BPF_PROG_ARRAY(jumps, 4);

static __always_inline u64 registers(struct pt_regs *ctx)
{
    return PT_REGS_PARM1(ctx) + PT_REGS_SP(ctx) + PT_REGS_IP(ctx) + PT_REGS_FP(ctx);
}

int on_tracepoint(void *ctx) { jumps.call(ctx, 1); return 0; }

int on_raw(struct bpf_raw_tracepoint_args *ctx)
{
    if (ctx->args[1] != GETPPID || (bpf_get_current_pid_tgid() >> 32) != PID)
        return 0;
    u32 key = 0;
    u64 one = 0;
    u64 *count = calls.lookup_or_try_init(&key, &one);
    if (count)
        __sync_fetch_and_add(count, 1);
    return 0;
}

int on_uprobe(struct pt_regs *ctx)
{
    struct record r = { .ip = registers(ctx), .port = bpf_htons(80), .seen = true };
    records.perf_submit(ctx, &r, sizeof(r));
    ring.ringbuf_output(&r, sizeof(r), 0);
    return 0;
}

int on_sock_ops(struct bpf_sock_ops *ctx) { return ctx->family == 2; }
'''
getppid = 173 if os.uname().machine == "aarch64" else 110
text = TEXT.replace("GETPPID", str(getppid)).replace("PID)", "%d)" % os.getpid())
b = BPF(text=text)
b.load_func("on_tracepoint", BPF.TRACEPOINT)
b.load_func("on_uprobe", BPF.KPROBE)
b.load_func("on_sock_ops", BPF.SOCK_OPS)
b.attach_raw_tracepoint("sys_enter", "on_raw")
libc = ctypes.CDLL(None)
for _ in range(7):
    libc.getppid()
print("calls", b["calls"][ctypes.c_uint(0)].value)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")
def test_every_kind_of_program_compiles_loads_and_counts_with_the_shim_alone() -> None:
    env = {**os.environ, "BCC_KERNEL_SOURCE": str(SHIM)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["calls", "7"]
    assert "warning" not in done.stderr
