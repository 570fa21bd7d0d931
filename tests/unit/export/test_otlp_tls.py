"""TLS in both directions, against servers that ask for the client's certificate."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service

from otel_ebpf.errors import UsageError
from otel_ebpf.export.otlp_grpc import OtlpGrpcExporter
from otel_ebpf.export.otlp_http import OtlpHttpExporter
from otel_ebpf.export.otlp_settings import OtlpSettings
from tests.unit.export import test_otlp_grpc, test_otlp_http
from tests.unit.export.spans import span

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the keys")


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One self-signed pair that serves as authority, server and client."""
    folder = tmp_path_factory.mktemp("pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    command += f" -keyout {folder}/key.pem -out {folder}/cert.pem -subj /CN=localhost"
    command += " -addext subjectAltName=DNS:localhost"
    subprocess.run(command.split(), check=True, capture_output=True, timeout=60)
    return folder


def environment(pem: Path, protocol: str, port: int) -> dict[str, str]:
    prefix = "OTEL_EXPORTER_OTLP_"
    return {
        prefix + "PROTOCOL": protocol,
        prefix + "ENDPOINT": f"https://localhost:{port}",
        prefix + "CERTIFICATE": str(pem / "cert.pem"),
        prefix + "CLIENT_CERTIFICATE": str(pem / "cert.pem"),
        prefix + "CLIENT_KEY": str(pem / "key.pem"),
    }


def test_grpc_shows_its_certificate_and_checks_the_servers(pem: Path) -> None:
    receiver = test_otlp_grpc.Receiver()
    key, certificate = (pem / "key.pem").read_bytes(), (pem / "cert.pem").read_bytes()
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        service.add_TraceServiceServicer_to_server(receiver, server)
        credentials = grpc.ssl_server_credentials([(key, certificate)], certificate, True)
        port = server.add_secure_port("localhost:0", credentials)
        server.start()
        exporter = OtlpGrpcExporter(OtlpSettings.from_env(environment(pem, "grpc", port)))
        try:
            assert exporter.export([span(1)]).exported == 1
        finally:
            exporter.shutdown()
            server.stop(None).wait(5)
    assert receiver.span_ids() == [1]


def test_http_shows_its_certificate_and_checks_the_servers(pem: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pem / "cert.pem"))
    context.load_cert_chain(pem / "cert.pem", pem / "key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    with test_otlp_http.serving() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        env = environment(pem, "http/protobuf", server.server_port)
        exporter = OtlpHttpExporter(OtlpSettings.from_env(env))
        try:
            assert exporter.export([span(1)]).exported == 1
        finally:
            exporter.shutdown()
        assert server.spans == [1]


@pytest.mark.parametrize("name", ["CERTIFICATE", "CLIENT_CERTIFICATE"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_file_that_holds_no_certificate_is_an_error_with_a_mend(
    pem: Path, tmp_path: Path, name: str, protocol: str
) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("not a certificate")
    env = environment(pem, protocol, 1)
    make = OtlpGrpcExporter if protocol == "grpc" else OtlpHttpExporter
    env["OTEL_EXPORTER_OTLP_" + name] = str(wrong)
    with pytest.raises(UsageError) as caught:
        make(OtlpSettings.from_env(env))
    assert caught.value.where == str(wrong)
    assert caught.value.mend
