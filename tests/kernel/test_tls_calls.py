"""What a process that ends in the middle of a TLS call leaves behind does not stay."""

from __future__ import annotations

import os

from otel_ebpf.kernel.ageing import Ageing
from tests.kernel.tracer import Tracer


def test_calls_of_ended_processes_leave_the_map() -> None:
    with Tracer() as tracer:
        table = tracer.kernel.table("tls_conn_map")
        gone = 1 << 22  # above the largest process number there can be
        for goid, pid in ((1, gone), (2, gone), (3, os.getpid())):
            key = table.Key()
            key.goid, key.tgid = goid, pid
            table[key] = table.Leaf()
        ageing = Ageing(tracer.kernel, tracer.kernel.config)
        ageing.tick(1)
        left = [(key.goid, key.tgid) for key, _ in table.items()]
        assert left == [(3, os.getpid())]
        assert ageing.swept == 2
