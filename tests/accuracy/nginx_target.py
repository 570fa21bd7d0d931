"""nginx as a service of the accuracy harness: a proxy whose call below is the plan's.

``/call/ID`` is proxied to the leaf as ``/call/IDc``. Becomes nginx when it has written its
configuration.
"""

from __future__ import annotations

import argparse
import os
import socket
import tempfile
import time
from pathlib import Path

CONFIGURATION = """
daemon off;
master_process {master};
worker_processes {workers};
pid {home}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_max_body_size 1g;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  proxy_cache_path {home}/cache keys_zone=answers:1m;
  keepalive_requests 1000000;
  upstream leaf {{
    {servers}
    {keepalive}
  }}
  server {{
    listen {address};
    location = /pending {{ return 200 "0 0"; }}
    location ~ ^/call/(?<id>.*)$ {{
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-Truth-Id ${{id}}c;
      proxy_set_header X-Truth-Parent $id;
      proxy_pass http://leaf/call/${{id}}c;
    }}
    location /cached/ {{
      proxy_cache answers;
      proxy_cache_valid 200 1h;
      proxy_cache_key cached;
      proxy_set_header X-Truth-Id cached;
      proxy_pass http://leaf/pending;
    }}
  }}
}}
"""


def announce(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            print("listening", f"127.0.0.1:{port}", flush=True)
            return


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("nginx")
    arguments.add_argument("leaf", help="HOST:PORT")
    arguments.add_argument("--workers", type=int, default=1)
    arguments.add_argument("--keepalive", action="store_true")
    arguments.add_argument("--dead", help="HOST:PORT of a server that refuses connections")
    chosen = arguments.parse_args()
    home = tempfile.mkdtemp(prefix="nginx-target-")
    os.chmod(home, 0o755)
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    address = f"127.0.0.1:{port}"
    servers = [f"server {chosen.leaf} max_fails=0;"]
    if chosen.dead:
        servers.append(f"server {chosen.dead} max_fails=0;")
    Path(home, "nginx.conf").write_text(
        CONFIGURATION.format(
            home=home,
            address=address,
            master="on" if chosen.workers > 1 else "off",
            workers=chosen.workers,
            servers=" ".join(servers),
            keepalive="keepalive 64;" if chosen.keepalive else "",
        )
    )
    if os.fork() == 0:  # tells when nginx listens, then is gone
        announce(port)
        os._exit(0)
    program = chosen.nginx
    os.execv(program, [program, "-p", home, "-e", "stderr", "-c", f"{home}/nginx.conf"])


if __name__ == "__main__":
    main()
