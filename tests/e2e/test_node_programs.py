"""Node's libraries: each call belongs to the request that it names, or to none."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.agent import Agent
from tests.e2e.query import parent_of, path_of
from tests.e2e.services import Service
from tests.nodes import npm_packages
from tests.postgresql_server import PASSWORD, PostgresqlServer
from tests.redis_server import RedisServer

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.e2e,
    pytest.mark.skipif(not shutil.which("npm") or not shutil.which("openssl"), reason="needs npm"),
]
PROGRAM = Path(__file__).with_name("node_programs.js")
PACKAGES = ("fastify@5", "ioredis@5", "pg@8")
REQUESTS = 160
AT_LEAST = {"redis": 0, "pg": 25, "fetch": 25, "http": 25, "https": 25, "worker": 0}
"""Per cent of the calls that must have their parent: of three, the one before the response. What
a pool of connections or a batch of replies makes uncertain has none."""


def certificate(home: Path) -> tuple[Path, Path]:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=here"]
    pair = home / "certificate.pem", home / "key.pem"
    command += ["-days", "2", "-out", str(pair[0]), "-keyout", str(pair[1])]
    subprocess.run(command, check=True, capture_output=True)
    return pair


@pytest.mark.timeout(400)  # the packages may have to be had first
@pytest.mark.parametrize("pause", [0, 4])
def test_calls_of_nodes_libraries_are_their_requests_children(tmp_path: Path, pause: int) -> None:
    node = shutil.which("node") or "node"
    env = {"NODE_PATH": str(npm_packages(PACKAGES))}
    with ExitStack() as stack:
        cache = stack.enter_context(RedisServer(tmp_path))
        database = stack.enter_context(PostgresqlServer())
        pair = certificate(tmp_path)
        leaf = stack.enter_context(Service("leaf", [node, PROGRAM, "leaf", *pair]))
        places = {kind: [leaf.url, str(pause)] for kind in AT_LEAST}
        places["redis"] = [str(cache.port), str(pause)]
        places["pg"] = [str(database.port), str(pause), PASSWORD]
        places["https"] = [f"https://127.0.0.1:{leaf.take_line()}", str(pause)]
        services = {}
        for kind, words in places.items():
            service = Service(kind, [node, PROGRAM, kind, *words], env=env)
            services[kind] = stack.enter_context(service)
            if kind not in ("redis", "pg"):  # a connection that is never silent is joined only once
                service.get("/0")
        kinds = {service.pid: kind for kind, service in services.items()}
        with Agent(pids=kinds) as agent, ThreadPoolExecutor(16) as pool:
            for service in services.values():
                list(pool.map(service.get, (f"/{n}" for n in range(1, REQUESTS + 1))))
            spans = agent.stop(60)
    right, made = Counter[str](), Counter[str]()
    for span in spans:
        name = span["attributes"].get("db.query.text", "") or path_of(span)
        named = re.search(r"id-(\d+)", name)
        if span["kind"] != "CLIENT" or named is None:
            continue
        kind = kinds[span["resource"]["process.pid"]]
        made[kind] += 1
        parent = parent_of(span, spans)
        if parent is not None:
            assert path_of(parent) == f"/{named[1]}", f"{kind}: {name} under {path_of(parent)}"
            right[kind] += 1
    # TLS connections that are older than the agent may tell nothing.
    assert all(made[kind] >= 3 * REQUESTS - 3 * (kind == "https") * 4 for kind in AT_LEAST), made
    shares = {kind: 100 * right[kind] / made[kind] for kind in AT_LEAST}
    assert {k: s for k, s in shares.items() if s < AT_LEAST[k]} == {}, shares
