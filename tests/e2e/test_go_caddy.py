"""Caddy, a proxy that nobody here wrote: HTTP/1, HTTP/2 and TLS in front and behind."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e import relay
from tests.e2e.agent import Agent
from tests.e2e.query import Span, select
from tests.e2e.services import TESTS, Service, free_port, server
from tests.e2e.truth import TRUTH
from tests.gobuild import build_go

SOURCE = TESTS / "targets" / "go" / "caddy"
MODULES = {"github.com/caddyserver/caddy/v2": "v2.11.9"}
REQUESTS = 100
_SITE = """{scheme}://127.0.0.1:{port} {{
  {tls}
  log {{
    output file {log}
  }}
  reverse_proxy {backend} {{
    {transport}
  }}
}}
"""


@contextmanager
def caddy(home: Path, sites: dict[str, str]) -> Iterator[tuple[int, dict[str, int]]]:
    """Caddy with a site for each; ``sites``: name -> backend. A name begins with the scheme.

    Yields its pid and the sites' ports. ``home/NAME.log`` has a site's requests.
    """
    ports = {name: free_port() for name in sites}
    text = f"""{{
      admin off
      skip_install_trust
      auto_https disable_redirects
      default_sni localhost
      storage file_system {home}/data
      servers {{
        protocols h1 h2 h2c
      }}
    }}
    """
    for name, backend in sites.items():
        secure = backend.startswith("https")
        text += _SITE.format(
            scheme=name.partition("-")[0],
            port=ports[name],
            tls="tls internal" * name.startswith("https"),
            log=home / f"{name}.log",
            backend=backend,
            transport="transport http {\n tls_insecure_skip_verify\n }" * secure,
        )
    (home / "Caddyfile").write_text(text)
    program = build_go(SOURCE, requires=MODULES, language="1.21")
    command: list[str | Path] = [
        program,
        "run",
        "--config",
        home / "Caddyfile",
        "--adapter",
        "caddyfile",
    ]
    own = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(home))
    with server(command, ports.values(), home / "errors", env=own) as pid:
        yield pid, ports


def ask(site: str, address: str, config: Path) -> list[str]:
    """Requests over HTTP/1 and over HTTP/2, 16 at once; returns their names."""
    names = []
    for version in ("http1", "h2"):
        if site.startswith("https"):
            some = [f"{site}.0.-.{version}{number}" for number in range(REQUESTS)]
            flag = {"http1": "http1.1", "h2": "http2"}[version]
            config.write_text(
                "next\n".join(
                    f'url = "https://{address}/leaf"\nheader = "x-truth-id: {name}"\n'
                    f"output = /dev/null\ninsecure\nfail\nsilent\nshow-error\n{flag}\n"
                    for name in some
                )
            )
            # One curl: connections are used again.
            command = ["curl", "-sZ", "--parallel-max", "16", "-K", str(config)]
        else:
            some = [f"{site}.0.-.{version}{number}" for number in range(1, REQUESTS + 1)]
            command = [str(relay.build()), "-drive", version, "-next", f"{version}={address}"]
            command += ["-modes", site, "-over", "-", "-calls", "0", "-tag", version]
            command += ["-requests", str(REQUESTS), "-concurrency", "16", "-warm=false"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        names += some
    return names


def judge(spans: list[Span], pid: int) -> Counter[tuple[str, str]]:
    """(site, verdict) of each CLIENT span: a proxy passes the request's own name on."""
    served = {
        (s["trace_id"], s["span_id"]): relay.truth(s, "id")
        for s in select(spans, "SERVER", "", pid)
    }
    said: Counter[tuple[str, str]] = Counter()
    for call in relay.calls(spans, pid):
        name = relay.truth(call, "id")
        parent = served.get((call["trace_id"], call["parent_span_id"]))
        verdict = "right" if parent == name else "wrong"
        said[name.partition(".")[0], verdict if call["parent_span_id"] else "absent"] += 1
    return said


def logged(log: Path) -> Counter[str]:
    """Requests in Caddy's own log, by their names."""
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    return Counter(entry["request"]["headers"]["X-Truth-Id"][0] for entry in entries)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_what_caddy_passes_on_is_for_the_request_it_came_with(tmp_path: Path) -> None:
    with ExitStack() as stack:
        back = stack.enter_context(Service("back", [relay.build()]))
        over = dict(part.split("=") for part in back.address.split(","))
        truth = build_go(TRUTH)
        secure = stack.enter_context(Service("secure", [truth, "-tls", "1.3", "-h2"]))
        sites = {
            "http-to1": over["http1"],
            "http-to2": f"h2c://{over['h2']}",
            "https-to1": over["http1"],
            "https-to2": f"https://{secure.address}",
        }
        pid, ports = stack.enter_context(caddy(tmp_path, sites))
        agent = stack.enter_context(Agent(pids=[pid], env=relay.ENV))
        asked: Counter[str] = Counter()
        for site, port in ports.items():
            asked.update(ask(site, f"127.0.0.1:{port}", tmp_path / "curl"))
        spans = agent.stop()
    said = judge(spans, pid)
    all_of_them = 2 * REQUESTS
    assert not any(verdict == "wrong" for _, verdict in said), said
    for site in sites:
        assert said[site, "right"] >= 0.99 * all_of_them, (said, agent.ledger)
        assert said[site, "right"] + said[site, "absent"] == all_of_them, said
    # Neither more nor less than Caddy itself says that it has served.
    mine = Counter(relay.truth(s, "id") for s in select(spans, "SERVER", "", pid))
    assert mine == asked
    assert mine == sum((logged(tmp_path / f"{site}.log") for site in sites), Counter())
    assert agent.ledger.get("programs_probed_for_each_request", 0) == 0
