"""HAProxy as a service of the accuracy harness: a proxy whose call below is the plan's.

``/call/ID`` is proxied to the leaf as ``/call/IDc``. Becomes HAProxy when it has written its
configuration.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.accuracy.nginx_target import announce

CONFIGURATION = """
global
  nbthread {threads}
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response 503
  {reuse}
frontend incoming
  bind {address}
  http-request return status 200 content-type text/plain string "0 0" if {{ path /pending }}
  http-request set-header X-Truth-Id %[path,field(3,/)]c
  http-request set-header X-Truth-Parent %[path,field(3,/)]
  http-request set-path %[path]c
  default_backend leaf
backend leaf
  {servers}
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("haproxy")
    arguments.add_argument("leaf", help="HOST:PORT")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--keepalive", action="store_true")
    arguments.add_argument("--dead", help="HOST:PORT of a server that refuses connections")
    chosen = arguments.parse_args()
    home = tempfile.mkdtemp(prefix="haproxy-target-")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    servers = [f"server leaf {chosen.leaf}"]
    if chosen.dead:
        servers.append(f"server dead {chosen.dead}")
    Path(home, "haproxy.cfg").write_text(
        CONFIGURATION.format(
            address=f"127.0.0.1:{port}",
            threads=chosen.threads,
            servers="\n  ".join(servers),
            reuse="http-reuse always" if chosen.keepalive else "option httpclose",
        )
    )
    if os.fork() == 0:  # tells when HAProxy listens, then is gone
        announce(port)
        os._exit(0)
    os.execv(chosen.haproxy, [chosen.haproxy, "-db", "-f", f"{home}/haproxy.cfg"])


if __name__ == "__main__":
    main()
