"""etcd, a gRPC server that nobody here wrote, with its own client and its gateway from HTTP."""

from __future__ import annotations

import base64
import http.client
import json
import re
import subprocess
from collections import Counter
from contextlib import closing
from pathlib import Path

from tests.e2e.agent import Agent
from tests.e2e.query import select
from tests.e2e.services import TESTS, free_port, server
from tests.gobuild import build_go

SOURCE = TESTS / "targets" / "go" / "etcd"
VERSION = "v3.5.21"
MODULES = dict.fromkeys(("go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/client/v3"), VERSION)
KEYS, POSTED = 100, 20


def _handled(port: int) -> dict[str, int]:
    """What etcd itself has counted: calls by method."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    pattern = r'^grpc_server_handled_total{grpc_code="OK",grpc_method="(\w+)".*} (\d+)$'
    return {method: int(n) for method, n in re.findall(pattern, text, re.M) if n != "0"}


def test_etcd_serves_its_clients_and_its_gateway_asks_itself(tmp_path: Path) -> None:
    program = build_go(SOURCE, requires=MODULES, language="1.21")
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    port = int(client.rpartition(":")[2])
    command: list[str | Path] = [program, "--data-dir", tmp_path / "data", "--unsafe-no-fsync"]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    command += ["--initial-cluster", f"default={peer}"]
    with server(command, [port], tmp_path / "errors") as pid, Agent(pids=[pid]) as agent:
        subprocess.run([program, "-put", f"127.0.0.1:{port}", str(KEYS)], check=True, timeout=60)
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as gateway:
            for number in range(POSTED):
                key = base64.b64encode(b"posted%d" % number).decode()
                gateway.request("POST", "/v3/kv/put", json.dumps({"key": key, "value": key}))
                answer = gateway.getresponse()
                assert answer.status == 200, answer.read()
                answer.read()
        handled = _handled(port)
        spans = agent.stop()
    served = Counter(s["name"] for s in select(spans, "SERVER", "", pid))
    called = select(spans, "CLIENT", "", pid)
    assert handled == {"Put": KEYS + POSTED, "Range": KEYS}
    assert {method: served[f"etcdserverpb.KV/{method}"] for method in handled} == handled, (
        agent.ledger
    )
    # The gateway's calls come from goroutines of its own, over one connection; etcd sorts
    # connections by their first bytes, so who reads the first request is none of net/http's.
    posts = [s for s in select(spans, "SERVER", "", pid) if s["name"] == "POST"]
    assert len(posts) == len(called) == POSTED
    ids = [(s["trace_id"], s["span_id"]) for s in posts]
    parents = [(s["trace_id"], s["parent_span_id"]) for s in called if s["parent_span_id"]]
    assert len(parents) >= POSTED - 1, agent.ledger
    # One at a time, so in the same order.
    assert parents == ids[-len(parents) :]
    assert {s["attributes"]["rpc.method"] for s in called} == {"etcdserverpb.KV/Put"}
    # And etcd answers itself: the same call, seen from its other end.
    both = {(s["trace_id"], s["span_id"]) for s in called}
    linked = [s for s in select(spans, "SERVER", "", pid) if s["parent_span_id"]]
    assert {(s["trace_id"], s["parent_span_id"]) for s in linked} == both
