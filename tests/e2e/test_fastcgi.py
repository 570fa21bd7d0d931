"""nginx before php-fpm: what both see of FastCGI, and what a script calls."""

from __future__ import annotations

import http.client
import json
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import repeat
from pathlib import Path

import pytest

from tests.e2e.agent import TRUTH_ENV, Agent, Span
from tests.e2e.proxied import Back, Front, front
from tests.e2e.query import only, parent_of, path_of, seconds_of, select
from tests.php import PhpFpm, php_fpm

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]

SCRIPT = r"""<?php
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$truth = $_SERVER['HTTP_X_TRUTH_ID'] ?? '';
function call($what) {
  global $truth;
  $context = stream_context_create(['http' => ['header' => "X-Truth-Parent: $truth\r\n"]]);
  return file_get_contents("http://127.0.0.1:BACK$what", false, $context);
}
if (str_ends_with($path, '/missing')) { http_response_code(404); echo 'no'; }
elseif (str_ends_with($path, '/broken')) { nosuchfunction(); }
elseif (str_ends_with($path, '/big')) { echo str_repeat("0123456789abcdef", 20000); }
elseif (str_ends_with($path, '/parts')) {
  for ($i = 0; $i < 5; $i++) { echo str_repeat("$i", 9000); flush(); usleep(20000); }
}
elseif (str_ends_with($path, '/log')) { error_log('a word for the log'); echo 'ok'; }
elseif (str_ends_with($path, '/calls')) { echo call('/one'), call('/two'); }
elseif (str_ends_with($path, '/slow')) { usleep(700000); echo 'late'; }
else { echo strlen(file_get_contents('php://input')); }
"""
PARAMETERS = (
    *("REQUEST_METHOD $request_method", "QUERY_STRING $query_string"),
    *("REQUEST_URI $request_uri", "CONTENT_TYPE $content_type"),
    *("CONTENT_LENGTH $content_length", "REMOTE_ADDR $remote_addr"),
    *("SERVER_NAME $server_name", "SERVER_PORT $server_port", "REQUEST_SCHEME $scheme"),
)
WAYS = ("tcp", "kept", "unix", "unixkept")


def locations(php: PhpFpm, home: Path) -> tuple[str, str]:
    """Upstreams and locations of nginx: each of WAYS, and the status pages."""
    given = " ".join(f"fastcgi_param {p};" for p in PARAMETERS)
    script = f"{given} fastcgi_param SCRIPT_FILENAME {home}/site.php;"
    at = {"tcp": f"127.0.0.1:{php.port}", "unix": f"unix:{php.path}"}
    upstreams = "".join(
        f"upstream {name}kept {{ server {where}; keepalive 2; }}\n" for name, where in at.items()
    )
    places = {"tcp": at["tcp"], "kept": "tcpkept", "unix": at["unix"], "unixkept": "unixkept"}
    text = ""
    for name, where in places.items():
        how = f"fastcgi_pass {where}; fastcgi_keep_conn {'on' if 'kept' in name else 'off'};"
        text += f"location /{name}/ {{ {script} {how} }}\n"
        text += f"location /{name}/slow {{ {script} {how} fastcgi_read_timeout 300ms; }}\n"
    for name, where in at.items():
        page = f"{given} fastcgi_param SCRIPT_NAME /status; fastcgi_param SCRIPT_FILENAME /status;"
        text += f"location /status/{name} {{ {page} fastcgi_pass {where}; }}\n"
    return upstreams, text


@contextmanager
def started() -> Iterator[tuple[Front, PhpFpm, Back]]:
    """nginx, php-fpm, and what the script calls."""
    # Not in pytest's own folder: php's user may not look there.
    with tempfile.TemporaryDirectory() as folder, Back() as back:
        home = Path(folder)
        home.chmod(0o755)
        (home / "site.php").write_text(SCRIPT.replace("BACK", str(back.port)))
        with php_fpm(home, 5) as php, front(home, *locations(php, home)) as nginx:
            yield nginx, php, back


@pytest.fixture
def site() -> Iterator[tuple[Front, PhpFpm, Back]]:
    with started() as running:
        yield running


def nothing_lost(agent: Agent) -> None:
    for reason in ("gaps", "desyncs", "responses_without_request", "requests_in_flight_at_end"):
        assert agent.ledger.get(reason, 0) == 0, (reason, agent.ledger)


def hop(spans: list[Span], path: str, nginx: Front) -> tuple[Span, Span]:
    """nginx's call and php-fpm's view of it: each the child of the one before."""
    asked = only(spans, "SERVER", path, nginx.pid)
    call = only(spans, "CLIENT", path, nginx.pid)
    (served,) = [s for s in select(spans, "SERVER", path) if s is not asked]
    assert parent_of(call, spans) is asked
    assert parent_of(served, spans) is call
    assert served["attributes"]["otel_ebpf.parent.rule"] == "same_host"
    return call, served


@pytest.mark.parametrize("way", WAYS)
def test_a_request_through_nginx_and_php(site: tuple[Front, PhpFpm, Back], way: str) -> None:
    nginx, php, _ = site
    with Agent(pids=[nginx.pid, *php.pids]) as agent:
        client = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=30)
        statuses = {}
        for name in ("plain?a=1", "missing", "broken", "big", "parts", "log", "calls", "slow"):
            client.request("GET", f"/{way}/{name}", headers={"User-Agent": "tests/1"})
            answer = client.getresponse()
            answer.read()
            statuses[f"/{way}/{name.partition('?')[0]}"] = answer.status
        client.request("POST", f"/{way}/upload", body=b"x" * 200_000)
        assert client.getresponse().read() == b"200000"
        statuses[f"/{way}/upload"] = 200
        client.close()
        spans = agent.wait_spans(lambda s: len(s) >= 27 + 2)
        spans = agent.stop()
    assert statuses.pop(f"/{way}/slow") == 504
    for path, status in statuses.items():
        call, served = hop(spans, path, nginx)
        for span in (call, served):
            attributes = span["attributes"]
            assert attributes["http.response.status_code"] == status
            assert attributes["network.protocol.name"] == "fastcgi"
            assert attributes["http.request.method"] == span["name"]
            assert attributes.get("network.transport") == ("unix" if "unix" in way else None)
            failed = status >= (500 if span is served else 400)
            assert attributes.get("error.type") == (str(status) if failed else None)
        if "unix" not in way:
            assert call["attributes"]["server.port"] == php.port
        assert served["attributes"]["server.port"] == nginx.port
        assert served["attributes"]["client.address"] == "127.0.0.1"
    assert select(spans, "SERVER", f"/{way}/plain")[0]["attributes"]["url.query"] == "a=1"
    for span in select(spans, "", f"/{way}/parts"):
        assert seconds_of(span) > 0.08
    # nginx gives up; the program goes on and answers nobody.
    slow = only(spans, "CLIENT", f"/{way}/slow")
    assert slow["attributes"]["error.type"] == "connection_closed"
    (served,) = (
        s
        for s in select(spans, "SERVER", f"/{way}/calls")
        if s["name"] == "GET" and s["attributes"].get("network.protocol.name") == "fastcgi"
    )
    for path in ("/one", "/two"):
        called = only(spans, "CLIENT", path)
        assert parent_of(called, spans) is served
        assert called["attributes"]["otel_ebpf.parent.rule"] == "thread"
    nothing_lost(agent)


def test_many_at_once_have_the_right_parents_and_the_counts_of_php(
    site: tuple[Front, PhpFpm, Back],
) -> None:
    nginx, php, _ = site
    with Agent(pids=[nginx.pid, *php.pids], env=TRUTH_ENV) as agent:

        def run(number: int, ways: tuple[str, str]) -> None:
            client = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=60)
            for i in range(20):
                way = ways[(number + i) % 2]
                client.request("GET", f"/{way}/calls", headers={"X-Truth-Id": f"{way}{number}.{i}"})
                answer = client.getresponse()
                assert (answer.status, answer.read()) == (200, b"okok")
            client.close()

        seen: dict[str, int] = {}
        for ways in (("tcp", "unix"), ("kept", "unixkept")):
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(run, range(8), repeat(ways)))
            # A kept connection's end counts as one more there.
            for name in ("tcp", "unix") if not seen else ():
                client = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=60)
                client.request("GET", f"/status/{name}?json")
                seen[name] = json.loads(client.getresponse().read())["accepted conn"]
                client.close()
        spans = agent.stop(60)
    kinds = Counter(
        (s["kind"], s["attributes"].get("network.protocol.name", "http")) for s in spans
    )
    assert kinds["SERVER", "fastcgi"] == kinds["CLIENT", "fastcgi"] == 322
    # One more: the connection by which this test saw that php-fpm listens.
    assert sum(seen.values()) == 162 + 1
    assert kinds["SERVER", "http"] == nginx.logged() == 322
    assert kinds["CLIENT", "http"] == 640
    truth = {}
    for span in spans:
        given = span["attributes"].get("http.request.header.x-truth-id")
        if given:
            truth[span["span_id"]] = given[0]
    checked = 0
    for span in spans:
        if span["kind"] == "CLIENT" or span["attributes"].get("network.protocol.name"):
            if path_of(span).startswith("/status"):
                continue
            attributes = span["attributes"]
            named = attributes.get("http.request.header.x-truth-id") or attributes.get(
                "http.request.header.x-truth-parent"
            )
            assert truth.get(span["parent_span_id"]) == named[0], (span, agent.ledger)
            checked += 1
    assert checked == 320 * 2 + 640
    nothing_lost(agent)


def test_what_is_not_fastcgi_is_not_taken_for_it(site: tuple[Front, PhpFpm, Back]) -> None:
    php = site[1]
    with Agent(pids=php.pids) as agent:
        for said in (b"\x01\x01\x00\x01", b"\x01\x01" + bytes(30), b"\x01\x09\0\0\0\0\0\0"):
            with socket.create_connection(("127.0.0.1", php.port)) as connection:
                connection.sendall(said)
                with suppress(OSError):  # it may have hung up already
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(100)
        spans = agent.stop()
    assert spans == []
