"""nginx as a proxy: what it asks for on behalf of a request, and what it does not ask for."""

from __future__ import annotations

import http.client
import os
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.agent import Agent
from tests.e2e.query import only, parent_of, select
from tests.e2e.services import free_port, server
from tests.nginx import nginx_program

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]

CONFIGURATION = """
daemon off;
master_process off;
pid {home}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  proxy_cache_path {home}/cache keys_zone=answers:1m;
  proxy_next_upstream error timeout http_503;
  proxy_read_timeout 300ms;
  upstream unsure {{
    server 127.0.0.1:{bad} max_fails=0;
    server 127.0.0.1:{good} max_fails=0 backup;
  }}
  server {{
    listen 127.0.0.1:{port};
    location /cached/ {{
      proxy_cache answers;
      proxy_cache_valid 200 1h;
      proxy_pass http://127.0.0.1:{good};
    }}
    location /busy/ {{ proxy_pass http://unsure; }}
    location /slow/ {{ proxy_pass http://unsure; }}
    location /socket/ {{ proxy_pass http://unix:{home}/upstream.socket:; }}
  }}
}}
"""


class Good(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


class Bad(Good):
    """Is busy, or too slow: until the test is over."""

    over = threading.Event()

    def do_GET(self) -> None:
        if self.path.startswith("/slow/"):
            self.over.wait(30)
            return
        self.send_error(503)


class Local(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class LocalGood(Good):
    def address_string(self) -> str:
        return "local"


@pytest.fixture
def upstreams(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Ports of the server that answers, and of the one that does not; one at a socket too."""
    Bad.over.clear()
    good = ThreadingHTTPServer(("127.0.0.1", 0), Good)
    bad = ThreadingHTTPServer(("127.0.0.1", 0), Bad)
    local = Local(str(tmp_path / "upstream.socket"), LocalGood)
    os.chmod(tmp_path / "upstream.socket", 0o777)
    servers: list[socketserver.BaseServer] = [good, bad, local]
    for each in servers:
        threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True).start()
    yield good.server_address[1], bad.server_address[1]
    Bad.over.set()
    for each in servers:
        each.shutdown()
        each.server_close()


def test_each_try_is_a_child_of_the_request_and_a_cached_answer_has_none(
    tmp_path: Path, upstreams: tuple[int, int]
) -> None:
    port, (good, bad) = free_port(), upstreams
    tmp_path.chmod(0o755)
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(home=tmp_path, port=port, good=good, bad=bad))
    command: list[str | Path] = [
        nginx_program(),
        "-p",
        tmp_path,
        "-e",
        "stderr",
        "-c",
        configuration,
    ]
    paths = ("/cached/1", "/busy/1", "/slow/1", "/socket/1")
    with server(command, [port], tmp_path / "errors") as pid, Agent(pids=[pid]) as agent:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for path in ("/cached/1", *paths):
            client.request("GET", path)
            response = client.getresponse()
            response.read()
            assert response.status == 200, path
        client.close()
        spans = agent.stop(60)
    first, again = select(spans, "SERVER", "/cached/1", pid)
    assert parent_of(only(spans, "CLIENT", "/cached/1", pid), spans) == first
    assert again["trace_id"] != first["trace_id"]
    for path, tries in (("/busy/1", 2), ("/slow/1", 2), ("/socket/1", 1)):
        request = only(spans, "SERVER", path, pid)
        calls = select(spans, "CLIENT", path, pid)
        assert [parent_of(call, spans) for call in calls] == [request] * tries, path
