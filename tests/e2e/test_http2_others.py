"""HTTP/2 of programs that nobody here wrote: nginx, curl, hypercorn, httpx, grpcio; with and
without TLS. Whoever is named as a parent is the right one."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.agent import TRUTH_ENV, Agent, Span
from tests.e2e.http2_programs import Caller, aio_client, aio_server, python_server
from tests.e2e.proxied import Back, front
from tests.e2e.query import parent_of, path_of, select
from tests.e2e.services import Service
from tests.pythons import python_with

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]
SITE = Path(__file__).resolve().parent / "target" / "h2_site.py"
PACKAGES = ("httpx[http2]>=0.27,<1", "hypercorn>=0.17")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


def truth_of(span: Span, name: str) -> str:
    for kind in ("http.request.header", "rpc.request.metadata"):
        found = span["attributes"].get(f"{kind}.{name}")
        if found:
            return str(found[0])
    return ""


def none_wrong(spans: list[Span], pid: int) -> Counter[bool]:
    """Calls that process ``pid`` made for its requests: parents are right or absent."""
    served = {
        s["span_id"]: truth_of(s, "x-truth-id")
        for s in select(spans, "SERVER")
        if s["resource"]["process.pid"] == pid
    }
    said: Counter[bool] = Counter()
    for span in select(spans, "CLIENT"):
        truth = truth_of(span, "x-truth-parent")
        if span["resource"]["process.pid"] == pid and truth:
            parent = span["parent_span_id"]
            assert not parent or served[parent] == truth, span["attributes"]
            said[bool(parent)] += 1
    return said


def nothing_lost(agent: Agent) -> None:
    for reason in ("gaps", "desyncs", "responses_without_request", "requests_in_flight_at_end"):
        assert agent.ledger.get(reason, 0) == 0, (reason, agent.ledger)


def curl(*arguments: str) -> None:
    done = subprocess.run(["curl", "-s", "-S", *arguments], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


@needs_curl
def test_nginx_with_prior_knowledge(tmp_path: Path) -> None:
    with Back() as back:
        text = f"""location / {{
          proxy_set_header X-Truth-Parent $http_x_truth_id;
          proxy_pass http://127.0.0.1:{back.port};
        }}
        location /own/ {{ return 418 "{"x" * 3000}"; }}"""
        with (
            front(tmp_path, "", text, listen="http2") as nginx,
            Caller(
                [python_with(PACKAGES), SITE, "call", f"http://127.0.0.1:{nginx.port}"]
            ) as client,
            Agent(pids=[nginx.pid], env=TRUTH_ENV) as agent,
        ):
            url = f"http://127.0.0.1:{nginx.port}"
            for number in range(10):
                truth = f"X-Truth-Id: c{number}"
                curl("--http2-prior-knowledge", "-H", truth, f"{url}/own/{number}")
                curl("--http2-prior-knowledge", "-H", truth, "-H", f"X-Wide: {'w' * 3000}",
                     f"{url}/to/{number}")  # fmt: skip
            for word in ("many", "more"):
                assert client.call("GET", f"/{word}", 75) == []
            logged = nginx.logged()
            spans = agent.stop(60)
    served = select(spans, "SERVER")
    assert len(served) == logged == 170
    assert Counter(s["attributes"]["http.response.status_code"] for s in served) == {
        418: 10,
        200: 160,
    }
    assert {s["attributes"]["network.protocol.version"] for s in served} == {"2"}
    assert len({path_of(s) for s in served}) == 170
    assert len(select(spans, "CLIENT")) == 160
    none_wrong(spans, nginx.pid)
    nothing_lost(agent)


def test_hypercorn_and_httpx() -> None:
    python = python_with(PACKAGES)
    with (
        Back() as back,
        Service("hypercorn", [python, SITE, "serve", f"127.0.0.1:{back.port}"]) as site,
        Caller([python, SITE, "call", site.url]) as client,
        Agent(pids=[site.pid, client.pid], env=TRUTH_ENV) as agent,
    ):
        for word in ("one", "two", "three"):
            assert client.call("GET", f"/{word}", 30) == []
        spans = agent.stop(60)
    assert Counter(
        (s["kind"], s["resource"]["process.pid"], s["attributes"]["network.protocol.version"])
        for s in spans
    ) == {
        ("CLIENT", client.pid, "2"): 90,
        ("SERVER", site.pid, "2"): 90,
        ("CLIENT", site.pid, "1.1"): 90,
    }
    for span in select(spans, "SERVER"):
        parent = parent_of(span, spans)
        assert parent is not None
        assert truth_of(parent, "x-truth-id") == truth_of(span, "x-truth-id")
    assert sum(none_wrong(spans, site.pid).values()) == 90
    nothing_lost(agent)


def test_asyncio_grpc_that_asks_in_turn() -> None:
    with (
        python_server() as back,
        aio_server(back.address) as relay,
        aio_client(relay.address) as client,
        Agent(pids=[back.pid, relay.pid, client.pid], env=TRUTH_ENV) as agent,
    ):
        for _ in range(3):
            assert client.call("POST", "Unary", 30) == []
        spans = agent.stop(60)
    assert Counter((s["kind"], s["resource"]["process.pid"]) for s in spans) == {
        ("CLIENT", client.pid): 90,
        ("SERVER", relay.pid): 90,
        ("CLIENT", relay.pid): 90,
        ("SERVER", back.pid): 90,
    }
    assert {s["attributes"]["rpc.response.status_code"] for s in spans} == {"OK"}
    none_wrong(spans, relay.pid)
    nothing_lost(agent)


@needs_curl
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_within_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    http = f"ssl_certificate {certificate}; ssl_certificate_key {key};"
    python = python_with(PACKAGES)
    with front(tmp_path, http, 'location / { return 200 "ok"; }', listen="ssl http2") as nginx:
        url = f"https://127.0.0.1:{nginx.port}"
        with (
            Caller([python, SITE, "call", url]) as client,
            Agent(pids=[nginx.pid, client.pid], env=TRUTH_ENV) as agent,
        ):
            curl("-k", f"{url}/ready")
            for number in range(5):
                curl("-k", "--http2", f"{url}/curl/{number}/[1-4]", "-Z")
            assert client.call("GET", "/httpx", 30) == []
            logged = nginx.logged()
            spans = agent.stop(60)
    served = select(spans, "SERVER")
    assert len(served) == logged
    assert {s["attributes"]["url.scheme"] for s in served} == {"https"}
    assert {s["attributes"]["http.response.status_code"] for s in spans} == {200}
    called = select(spans, "CLIENT")
    assert len(called) == 30
    by_truth = {truth_of(s, "x-truth-id"): s for s in called}
    for span in served:
        truth = truth_of(span, "x-truth-id")
        if truth:
            assert parent_of(span, spans) is by_truth.pop(truth)
    assert not by_truth
