"""OpenSSL's plaintext: on sockets and through memory, server and client, joined like plain hops."""

from __future__ import annotations

import http.client
import http.server
import itertools
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.cbuild import build_c
from tests.debian import debian_program
from tests.e2e.agent import Agent, Span
from tests.e2e.query import only, select
from tests.e2e.services import Service
from tests.javabuild import build_java, java_home
from tests.nginx import nginx_program
from tests.pythons import python_with

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, for a certificate"),
]
TARGETS = Path(__file__).resolve().parents[1] / "targets" / "openssl"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
TRUSTING = ssl._create_unverified_context()
CALLERS, EACH = 4, 10


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate and its key."""
    home = tmp_path_factory.mktemp("certificate")
    cert, key = str(home / "cert.pem"), str(home / "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-out", cert, "-keyout", key),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def service(mode: str, pair: tuple[str, str], following: str = "", *more: str) -> Service:
    """One HTTPS service; ``following``: the address of the one that it calls."""
    cert, key = pair
    if mode == "node":
        return Service(mode, ["node", TARGETS / "service.js", cert, key, following, *more])
    words = ["--mode", mode, "--cert", cert, "--key", key, "--next", following]
    return Service(mode, [sys.executable, TARGETS / "service.py", *words, *more])


def connected(address: str) -> closing[http.client.HTTPSConnection]:
    """A connection that ends with its block."""
    return closing(http.client.HTTPSConnection(address, context=TRUSTING, timeout=30))


def hops(address: str, first: int = 0, each: int = EACH) -> None:
    """Callers with a connection each, that ask one request after the other."""

    def caller(number: int) -> None:
        with connected(address) as connection:
            for turn in range(first, first + each):
                connection.request("GET", f"/hop/{number}-{turn}")
                response = connection.getresponse()
                response.read()
                assert response.status == 200

    threads = [threading.Thread(target=caller, args=(n,)) for n in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def path_of(span: Span) -> str:
    attributes = span["attributes"]
    if "url.path" in attributes:
        return str(attributes["url.path"])
    return "/" + str(attributes["url.full"]).split("/", 3)[3]


def judged(spans: list[Span], front: int, back: int) -> Counter[str]:
    """How many links of front's calls are right, absent and wrong; and of back's requests."""
    by_id = {span["span_id"]: span for span in spans}
    found: Counter[str] = Counter()
    for span in [*select(spans, "CLIENT", pid=front), *select(spans, "SERVER", pid=back)]:
        which = "call" if span["kind"] == "CLIENT" else "request"
        parent = by_id.get(span["parent_span_id"])
        if parent is None:
            found[which + " absent"] += 1
        else:
            right = path_of(parent).split("/")[2] == path_of(span).split("/")[2]
            found[which + (" right" if right else " wrong")] += 1
    return found


@pytest.mark.parametrize("mode", ["threads", "asyncio"])
def test_calls_over_tls_have_parents_and_are_joined(mode: str, pair: tuple[str, str]) -> None:
    with (
        service(mode, pair) as back,
        service(mode, pair, back.address) as front,
        Agent(pids=[front.pid, back.pid]) as agent,
    ):
        hops(front.address)
        spans = agent.stop()
    all_of_them = CALLERS * EACH
    assert judged(spans, front.pid, back.pid) == {
        "call right": all_of_them,
        "request right": all_of_them,
    }
    # Ciphertext gives nothing beside.
    assert len(spans) == 3 * all_of_them
    assert {s["attributes"]["url.scheme"] for s in spans if s["kind"] == "SERVER"} == {"https"}
    assert all(s["attributes"]["http.response.status_code"] == 200 for s in spans)


def test_openssl_is_left_alone_where_that_was_asked_for(pair: tuple[str, str]) -> None:
    with service("threads", pair) as one:
        with (
            Agent("--openssl", "off", pids=[one.pid]) as without,
            Agent(pids=[one.pid]) as agent,
            connected(one.address) as connection,
        ):
            connection.request("GET", "/")
            connection.getresponse().read()
            agent.wait_spans(1)
            assert without.stop() == []
        assert "uprobes" not in without.ledger


@needs_node
@pytest.mark.parametrize("more", [(), ("close",)], ids=["kept", "closed"])
def test_node_s_calls_over_tls_are_joined_and_none_is_wrong(
    more: tuple[str, ...], pair: tuple[str, str]
) -> None:
    """The first call of a connection is written within the handshake's last step, from a buffer
    that is gone when its bytes leave."""
    with (
        service("node", pair) as back,
        service("node", pair, back.address, *more) as front,
        Agent(pids=[front.pid, back.pid]) as agent,
    ):
        hops(front.address)
        spans = agent.stop()
    told = judged(spans, front.pid, back.pid)
    everything = CALLERS * EACH
    assert not told["call wrong"] and not told["request wrong"], told
    assert len(select(spans, "SERVER", pid=back.pid)) == everything
    assert len(select(spans, "SERVER", pid=front.pid)) == everything
    assert len(select(spans, "CLIENT", pid=front.pid)) == everything, agent.errors
    assert "tls_unplaced" not in agent.ledger
    # Where in the stream a server reads is not known of a process's first connections.
    assert told["request right"] >= everything - CALLERS, told


def test_what_others_sent_unseen_is_not_told_with_the_next_send(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    """The kernel now and then passes over a probe. Here a process that is not traced sends."""
    with (
        answering_by_path(pair) as port,
        sending_for_others(tmp_path / "sender") as place,
        subprocess.Popen(
            [sys.executable, str(TARGETS / "handed_on.py"), str(port), place],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as client,
    ):  # fmt: skip
        assert client.stdin is not None and client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        with Agent(pids=[client.pid]) as agent:
            for number, how in enumerate(("own", "own", "other", "own", "other", "own", "own")):
                client.stdin.write(f"{how} /{400 + number}\n")
                client.stdin.flush()
                assert client.stdout.readline() == f"{400 + number}\n"
            client.stdin.close()
            spans = agent.stop()
    told = [(path_of(s), s["attributes"].get("http.response.status_code")) for s in spans]
    assert ("/406", 406) in told, agent.errors
    assert all(status is None or path == f"/{status}" for path, status in told), told


@contextmanager
def answering_by_path(pair: tuple[str, str]) -> Iterator[int]:
    """An HTTPS server in this process, whose answers have the status that the path says."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(int(self.path[1:]))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def sending_for_others(place: Path) -> Iterator[str]:
    """Sends what it is given on the connection that comes with it, in this process."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while True:
                data, descriptors, _, _ = socket.recv_fds(connection, 65536, 1)
                if not data:
                    return
                with socket.socket(fileno=descriptors[0]) as carried:
                    carried.sendall(data)

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(place))
        listener.listen()
        threading.Thread(target=serve, daemon=True).start()
        yield str(place)


@needs_curl
@pytest.mark.parametrize("mode", ["threads", "asyncio"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_messages_of_every_size_are_whole(mode: str, version: str, pair: tuple[str, str]) -> None:
    sizes = [0, 1, 100, 16_000, 16_384, 16_385, 1_000_000]
    with service(mode, pair) as one, Agent(pids=[one.pid]) as agent:
        urls = [f"https://{one.address}/a?n={n}" for n in sizes]
        done = subprocess.run(
            ["curl", "-skf", "--http1.1", "--tls-max", version, *urls],
            check=True, capture_output=True,
        )  # fmt: skip
        assert len(done.stdout) == sum(sizes)
        spans = agent.stop()
    assert [s["attributes"]["url.query"] for s in spans] == [f"n={n}" for n in sizes]
    assert all(s["attributes"]["http.response.status_code"] == 200 for s in spans)
    # None is ended, or begun, by the bytes of another.
    for earlier, later in itertools.pairwise(spans):
        assert earlier["end_time_unix_nano"] <= later["start_time_unix_nano"]


@needs_curl
def test_a_program_of_milliseconds_is_seen_where_everything_is_traced(
    pair: tuple[str, str],
) -> None:
    with service("threads", pair) as one, Agent("--port", str(one.port)) as agent:
        for number in range(3):
            url = f"https://{one.address}/short-{number}"
            subprocess.run(["curl", "-skf", "--http1.1", url], check=True, capture_output=True)
        spans = agent.stop()
    for number in range(3):
        client = only(spans, "CLIENT", f"/short-{number}")
        server = only(spans, "SERVER", f"/short-{number}", one.pid)
        assert server["parent_span_id"] == client["span_id"]


@pytest.mark.parametrize("mode", ["threads", "asyncio"])
def test_connections_that_are_older_than_the_agent(mode: str, pair: tuple[str, str]) -> None:
    with ExitStack() as stack:
        one = stack.enter_context(service(mode, pair))
        connection = stack.enter_context(connected(one.address))

        def ask(path: str) -> None:
            connection.request("GET", path)
            connection.getresponse().read()

        ask("/before")
        with Agent(pids=[one.pid]) as agent:
            for number in range(6):
                ask(f"/after-{number}")
            spans = agent.stop()
    told = [path_of(span) for span in spans]
    # What was under way when the probes came may be missing; nothing is told wrong.
    assert told == [f"/after-{n}" for n in range(6 - len(told), 6)]
    assert len(told) >= 4


def test_a_library_that_is_loaded_late(pair: tuple[str, str]) -> None:
    cert, key = pair
    words = ["--mode", "threads", "--cert", cert, "--key", key, "--late"]
    process = subprocess.Popen(
        [sys.executable, TARGETS / "service.py", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with ExitStack() as stack:
        stack.enter_context(process)
        stack.callback(process.kill)
        assert process.stdin is not None and process.stdout is not None
        agent = stack.enter_context(Agent(pids=[process.pid]))
        process.stdin.write("\n")
        process.stdin.flush()
        address = process.stdout.readline().split()[1]
        # The first connection may be what shows that there is TLS.
        for number in range(50):
            with connected(address) as connection:
                connection.request("GET", f"/{number}")
                connection.getresponse().read()
            if agent.spans:
                break
        agent.wait_spans(1)
        spans = agent.stop()
    assert path_of(spans[0]).strip("/").isdigit()


def test_a_library_of_another_mount_namespace_that_is_deleted(pair: tuple[str, str]) -> None:
    """As in a container whose image was replaced: nothing of it is under the host's paths."""
    cert, key = pair
    library = next(
        line.split()[-1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "/libssl.so" in line
    )
    words = [sys.executable, str(TARGETS / "service.py"), "--mode", "threads"]
    words += ["--cert", cert, "--key", key]
    script = 'mount -t tmpfs none /mnt && cp "$0" /mnt/ && LD_LIBRARY_PATH=/mnt exec "$@"'
    with Service("inside", ["unshare", "-m", "sh", "-c", script, library, *words]) as inside:
        copy = Path(f"/proc/{inside.pid}/root/mnt/{Path(library).name}")
        assert f"/mnt/{copy.name}" in Path(f"/proc/{inside.pid}/maps").read_text()
        assert not Path(f"/mnt/{copy.name}").exists()
        copy.unlink()
        with Agent(pids=[inside.pid]) as agent, connected(inside.address) as connection:
            for number in range(EACH):
                connection.request("GET", f"/{number}")
                connection.getresponse().read()
            spans = agent.stop()
    assert [path_of(span) for span in spans] == [f"/{number}" for number in range(EACH)]


@contextmanager
def terminator(
    pair: tuple[str, str], upstream: str, home: Path, more: str = ""
) -> Iterator[Service]:
    """nginx, that takes HTTPS and calls ``upstream`` over HTTPS."""
    cert, key = pair
    socket_port = _free_port()
    folders = ("body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(
        f"{'client_body' if f == 'body' else f}_temp_path {home}/{f};\n" for f in folders
    )
    (home / "nginx.conf").write_text(
        f"""daemon off; master_process off; pid {home}/pid; error_log stderr warn;
        events {{}}
        http {{ access_log off; {paths}
          upstream next {{ server {upstream}; keepalive 8; }}
          server {{ listen 127.0.0.1:{socket_port} ssl {more};
            ssl_certificate {cert}; ssl_certificate_key {key};
            location /told/ {{ return 200 told; }}
            location / {{ proxy_http_version 1.1; proxy_set_header Connection "";
              proxy_pass https://next; }} }} }}"""
    )
    script = f"echo listening 127.0.0.1:{socket_port}; exec {nginx_program()} -c {home}/nginx.conf"
    with Service("nginx", ["sh", "-c", script]) as running:
        yield running


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_nginx_as_tls_terminator_and_tls_client(pair: tuple[str, str], tmp_path: Path) -> None:
    with (
        service("threads", pair) as back,
        terminator(pair, back.address, tmp_path) as proxy,
        Agent(pids=[proxy.pid, back.pid]) as agent,
    ):
        hops_without_next(proxy.address)
        spans = agent.stop()
    everything = CALLERS * EACH
    told = judged(spans, proxy.pid, back.pid)
    assert told == {"call right": everything, "request right": everything}


@needs_curl
def test_http2_of_nginx_and_curl(pair: tuple[str, str], tmp_path: Path) -> None:
    with (
        terminator(pair, "127.0.0.1:1", tmp_path, "http2") as one,
        Agent("--port", one.address.rpartition(":")[2]) as agent,
    ):
        urls = [f"https://{one.address}/told/{name}" for name in "ab"]
        subprocess.run(["curl", "-skf", "--http2", *urls], check=True, capture_output=True)
        spans = agent.stop()
    for name in "ab":
        client = only(spans, "CLIENT", f"/told/{name}")
        server = only(spans, "SERVER", f"/told/{name}", one.pid)
        assert server["parent_span_id"] == client["span_id"]
        assert client["attributes"]["network.protocol.version"] == "2"
        assert client["attributes"]["http.response.status_code"] == 200
    assert len(spans) == 4


def test_websocket_over_tls(pair: tuple[str, str]) -> None:
    python = python_with(["websockets>=15,<17"])
    with Service("chat", [python, TARGETS / "chat.py", *pair]) as one:
        words = [str(python), str(TARGETS / "chat.py"), one.address, "5"]
        with (
            subprocess.Popen(words, stdin=subprocess.PIPE) as caller,
            Agent(pids=[one.pid, caller.pid]) as agent,
        ):
            caller.communicate(b"\n", timeout=60)
            spans = agent.stop()
    talks = {s["kind"]: s for s in spans if s["name"].startswith("websocket")}
    assert set(talks) == {"CLIENT", "SERVER"}
    upgrades = {kind: only([s for s in spans if s["name"][:3] == "GET"], kind) for kind in talks}
    assert upgrades["SERVER"]["parent_span_id"] == upgrades["CLIENT"]["span_id"]
    assert {talks[k]["parent_span_id"] == upgrades[k]["span_id"] for k in talks} == {True}
    for span in talks.values():
        assert span["attributes"]["url.scheme"] == "wss"
        assert span["attributes"]["otel_ebpf.websocket.sent.messages"] == 5
        assert span["attributes"]["otel_ebpf.websocket.received.messages"] == 5


def hops_without_next(address: str) -> None:
    """As ``hops``, of paths that are answered at once."""

    def caller(number: int) -> None:
        with connected(address) as connection:
            for turn in range(EACH):
                connection.request("GET", f"/plain/{number}-{turn}")
                assert connection.getresponse().read() == b"xxxxx"

    threads = [threading.Thread(target=caller, args=(n,)) for n in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_requests_with_bodies_and_a_client_that_reads_slowly(pair: tuple[str, str]) -> None:
    """Partial writes of a server, and records that arrive in pieces."""
    with (
        service("threads", pair) as one,
        connected(one.address) as connection,
        Agent(pids=[one.pid]) as agent,
    ):
        for number in range(3):
            connection.request("POST", f"/{number}?n=3000000", body=b"b" * 200_000)
            response = connection.getresponse()
            while response.read(1000):
                pass
        spans = agent.stop()
    assert [path_of(s) for s in spans] == ["/0", "/1", "/2"]
    assert "desyncs" not in agent.ledger, agent.errors


def test_a_program_that_is_linked_with_openssls_archives(pair: tuple[str, str]) -> None:
    archive, _ = debian_program(
        "libssl.a", "usr/lib/x86_64-linux-gnu/libssl.a", ("libssl-dev", "libssl3")
    )
    headers = [archive.parents[2] / "include", archive.parents[2] / "include/x86_64-linux-gnu"]
    archives = [archive, archive.with_name("libcrypto.a"), "-ldl"]
    words = [*(f"-I{folder}" for folder in headers), "-D_GNU_SOURCE", *map(str, archives)]
    program = build_c("tls_client", *words)
    with (
        service("threads", pair) as back,
        subprocess.Popen(
            [program, str(back.port), "20", "/static-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as client,
    ):
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        with Agent(pids=[client.pid, back.pid]) as agent:
            client.communicate("\n", timeout=60)
            spans = agent.stop()
    assert client.returncode == 0
    for number in range(20):
        asked = only(spans, "CLIENT", f"/static-{number}", client.pid)
        served = only(spans, "SERVER", f"/static-{number}", back.pid)
        assert served["parent_span_id"] == asked["span_id"]


@pytest.mark.skipif(shutil.which("javac") is None, reason="needs a JDK")
def test_java_s_own_tls_is_named(pair: tuple[str, str]) -> None:
    home = java_home()
    assert home is not None
    classes = build_java(TARGETS.parent / "java-jsse", home)
    with (
        service("threads", pair) as back,
        subprocess.Popen(
            [home / "bin" / "java", "-Xmx64m", "-cp", classes, "Main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        ) as program,
    ):
        assert program.stdin is not None and program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        with Agent(pids=[program.pid]) as agent:
            program.stdin.write(f"https://{back.address}/unread\n")
            assert int(program.stdout.readline()) > 0
            agent.wait_said("cannot be read", 60)
            program.stdin.close()
            spans = agent.stop()
    assert spans == []
    assert agent.ledger["processes_with_tls_not_readable"] == 1
    assert "JSSE" in next(line for line in agent.errors.splitlines() if "cannot be read" in line)
