"""nginx with locations of a test's own, and a small HTTP server behind what it proxies to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.e2e.services import free_port, server
from tests.nginx import nginx_program

CONFIGURATION = """
daemon off;
master_process off;
pid {home}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log {home}/access;
  client_max_body_size 1g;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  {http}
  server {{
    listen 127.0.0.1:{port} {listen};
    {locations}
  }}
}}
"""


@dataclass
class Front:
    """nginx, running in one process."""

    pid: int
    port: int
    log: Path

    def logged(self) -> int:
        """Requests in its access log."""
        return len(self.log.read_text().splitlines())


@contextmanager
def front(home: Path, http: str, locations: str, listen: str = "") -> Iterator[Front]:
    """nginx with these locations, and more in its ``http`` section."""
    port = free_port()
    configuration = home / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(home=home, port=port, http=http, locations=locations, listen=listen)
    )
    command: list[str | Path] = [nginx_program(), "-p", home, "-e", "stderr", "-c", configuration]
    with server(command, [port], home / "nginx-errors") as pid:
        yield Front(pid, port, home / "access")


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


class Back:
    """Answers ``ok``, in this process."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
        self.port = self._server.server_address[1]

    def __enter__(self) -> Back:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
