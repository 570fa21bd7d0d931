"""nginx before uWSGI: what both see of the uwsgi protocol, and what a program calls."""

from __future__ import annotations

import http.client
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.agent import TRUTH_ENV, Agent, Span
from tests.e2e.proxied import Back, Front, front
from tests.e2e.query import only, parent_of, select
from tests.uwsgi_server import Uwsgi, uwsgi

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]

PROGRAM = """
import time, urllib.request

def call(what, truth):
    request = urllib.request.Request("http://127.0.0.1:BACK" + what, headers={"X-Truth-Parent": truth})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return answer.read()

def application(environ, start):
    path = environ["PATH_INFO"].rpartition("/")[2]
    status, out = "200 OK", [b"ok"]
    if path == "missing":
        status = "404 Not Found"
    elif path == "broken":
        raise ValueError("broken")
    elif path == "big":
        out = [b"0123456789abcdef" * 20000]
    elif path == "calls":
        truth = environ.get("HTTP_X_TRUTH_ID", "")
        out = [call("/one", truth), call("/two", truth)]
    elif path == "slow":
        time.sleep(0.7)
    elif path == "upload":
        body = environ["wsgi.input"].read()
        out = [str(len(body)).encode()]
    start(status, [("Content-Type", "text/plain")])
    return out
"""  # noqa: E501
PARAMETERS = (
    *("QUERY_STRING $query_string", "REQUEST_METHOD $request_method"),
    *("CONTENT_TYPE $content_type", "CONTENT_LENGTH $content_length"),
    *("REQUEST_URI $request_uri", "PATH_INFO $document_uri", "REMOTE_ADDR $remote_addr"),
    *("REQUEST_SCHEME $scheme", "SERVER_NAME $server_name", "SERVER_PORT $server_port"),
)
WAYS = ("tcp", "unix")


@contextmanager
def started() -> Iterator[tuple[Front, Uwsgi]]:
    """nginx, and uWSGI behind it."""
    with tempfile.TemporaryDirectory() as folder, Back() as back:
        home = Path(folder)
        home.chmod(0o755)
        script = home / "site.py"
        script.write_text(PROGRAM.replace("BACK", str(back.port)))
        given = " ".join(f"uwsgi_param {p};" for p in PARAMETERS)
        with uwsgi(home, script, 3) as program:
            text = ""
            for name, where in (
                ("tcp", f"127.0.0.1:{program.port}"),
                ("unix", f"unix:{program.path}"),
            ):
                text += f"location /{name}/ {{ {given} uwsgi_pass {where}; }}\n"
                text += f"location /{name}/slow {{ {given} uwsgi_pass {where};"
                text += " uwsgi_read_timeout 300ms; }\n"
            with front(home, "", text) as nginx:
                yield nginx, program


@pytest.fixture
def site() -> Iterator[tuple[Front, Uwsgi]]:
    with started() as running:
        yield running


def nothing_lost(agent: Agent) -> None:
    for reason in ("gaps", "desyncs", "responses_without_request", "requests_in_flight_at_end"):
        assert agent.ledger.get(reason, 0) == 0, (reason, agent.ledger)


def served_by(spans: list[Span], path: str, nginx: Front) -> tuple[Span, Span]:
    """nginx's call and uWSGI's view of it, each the child of the one before."""
    asked = only(spans, "SERVER", path, nginx.pid)
    call = only(spans, "CLIENT", path, nginx.pid)
    (served,) = [s for s in select(spans, "SERVER", path) if s is not asked]
    assert parent_of(call, spans) is asked
    assert parent_of(served, spans) is call
    return call, served


@pytest.mark.parametrize("way", WAYS)
def test_a_request_through_nginx_and_uwsgi(site: tuple[Front, Uwsgi], way: str) -> None:
    nginx, program = site
    with Agent(pids=[nginx.pid, *program.pids]) as agent:
        client = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=30)
        statuses = {}
        for name in ("plain?a=1", "missing", "broken", "big", "calls", "slow"):
            client.request("GET", f"/{way}/{name}")
            answer = client.getresponse()
            answer.read()
            statuses[f"/{way}/{name.partition('?')[0]}"] = answer.status
        client.request("POST", f"/{way}/upload", body=b"x" * 200_000)
        assert client.getresponse().read() == b"200000"
        statuses[f"/{way}/upload"] = 200
        client.close()
        agent.wait_spans(7 * 3 + 2)
        spans = agent.stop()
    assert statuses.pop(f"/{way}/slow") == 504
    # uWSGI says nothing of a program's error, and closes.
    assert statuses.pop(f"/{way}/broken") == 502
    for span in served_by(spans, f"/{way}/broken", nginx):
        assert span["attributes"]["error.type"] == "connection_closed"
    for path, status in statuses.items():
        for span in served_by(spans, path, nginx):
            attributes = span["attributes"]
            assert attributes["network.protocol.name"] == "uwsgi"
            assert attributes["http.request.method"] == span["name"]
            assert attributes["http.response.status_code"] == status
            assert attributes.get("network.transport") == ("unix" if way == "unix" else None)
    _, plain = served_by(spans, f"/{way}/plain", nginx)
    assert plain["attributes"]["url.query"] == "a=1"
    assert plain["attributes"]["server.port"] == nginx.port
    slow = only(spans, "CLIENT", f"/{way}/slow")
    assert slow["attributes"]["error.type"] == "connection_closed"
    _, caller = served_by(spans, f"/{way}/calls", nginx)
    for path in ("/one", "/two"):
        assert parent_of(only(spans, "CLIENT", path), spans) is caller
    nothing_lost(agent)


def test_many_at_once_have_the_right_parents_and_the_counts_of_uwsgi(
    site: tuple[Front, Uwsgi],
) -> None:
    nginx, program = site
    before = program.requests()
    with Agent(pids=[nginx.pid, *program.pids], env=TRUTH_ENV) as agent:

        def run(number: int) -> None:
            client = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=60)
            for i in range(25):
                way = WAYS[(number + i) % 2]
                client.request("GET", f"/{way}/calls", headers={"X-Truth-Id": f"{number}.{i}"})
                answer = client.getresponse()
                assert (answer.status, answer.read()) == (200, b"okok")
            client.close()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(run, range(8)))
        spans = agent.stop(60)
    kinds = Counter(
        (s["kind"], s["attributes"].get("network.protocol.name", "http")) for s in spans
    )
    assert kinds == {
        ("SERVER", "http"): nginx.logged(),
        ("CLIENT", "uwsgi"): 200,
        ("SERVER", "uwsgi"): program.requests() - before,
        ("CLIENT", "http"): 400,
    }
    assert kinds["SERVER", "http"] == kinds["SERVER", "uwsgi"] == 200
    truth = {}
    for span in spans:
        given = span["attributes"].get("http.request.header.x-truth-id")
        if given:
            truth[span["span_id"]] = given[0]
    for span in spans:
        attributes = span["attributes"]
        named = attributes.get("http.request.header.x-truth-parent") or attributes.get(
            "http.request.header.x-truth-id"
        )
        if span["kind"] == "CLIENT" or "network.protocol.name" in attributes:
            assert truth.get(span["parent_span_id"]) == named[0], (span, agent.ledger)
    nothing_lost(agent)
