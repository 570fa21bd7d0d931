"""OTEL_EXPORTER_OTLP_* in the specification's units and meanings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from otel_ebpf.errors import UsageError
from otel_ebpf.export.otlp_settings import OtlpSettings, endpoint_is_set

P = "OTEL_EXPORTER_OTLP_"


def read(**variables: str) -> OtlpSettings:
    return OtlpSettings.from_env({P + name: value for name, value in variables.items()})


def test_the_defaults() -> None:
    assert read() == OtlpSettings(
        protocol="grpc", endpoint="localhost:4317", secure=False, timeout=10.0
    )
    assert read(PROTOCOL="http/protobuf").endpoint == "http://localhost:4318/v1/traces"


@pytest.mark.parametrize(
    ("variables", "protocol", "endpoint", "secure"),
    [
        ({"ENDPOINT": "http://c:4317"}, "grpc", "c:4317", False),
        ({"ENDPOINT": "https://c:4317/"}, "grpc", "c:4317", True),
        ({"ENDPOINT": "https://c"}, "grpc", "c:443", True),
        ({"ENDPOINT": "http://[::1]:4317"}, "grpc", "[::1]:4317", False),
        ({"ENDPOINT": "unix:///run/otel.sock"}, "grpc", "unix:///run/otel.sock", False),
        # Without a scheme INSECURE decides, and its default is false; with one it says nothing.
        ({"ENDPOINT": "c:4317"}, "grpc", "c:4317", True),
        ({"ENDPOINT": "c:4317", "INSECURE": "true"}, "grpc", "c:4317", False),
        ({"ENDPOINT": "http://c:4317", "INSECURE": "false"}, "grpc", "c:4317", False),
        ({"ENDPOINT": "https://c:4317", "INSECURE": "true"}, "grpc", "c:4317", True),
        # A base URL gets the signal's path, the signal's own URL is taken as it is.
        ({"ENDPOINT": "http://c:4318"}, "http/protobuf", "http://c:4318/v1/traces", False),
        ({"ENDPOINT": "https://c/otlp/"}, "http/protobuf", "https://c/otlp/v1/traces", True),
        (
            {"TRACES_ENDPOINT": "http://c:4318/mine", "ENDPOINT": "http://x"},
            "http/protobuf",
            "http://c:4318/mine",
            False,
        ),
        ({"TRACES_ENDPOINT": "http://c:4318"}, "http/protobuf", "http://c:4318/", False),
        (
            {"ENDPOINT": "http://c:9", "PROTOCOL": "http/protobuf"},
            "http/protobuf",
            "http://c:9/v1/traces",
            False,
        ),
        (
            {"ENDPOINT": "http://c:9", "PROTOCOL": "http/protobuf", "TRACES_PROTOCOL": "grpc"},
            "grpc",
            "c:9",
            False,
        ),
        ({"ENDPOINT": "  ", "PROTOCOL": ""}, "grpc", "localhost:4317", False),
    ],
)
def test_where_spans_go(
    variables: dict[str, str], protocol: str, endpoint: str, secure: bool
) -> None:
    settings = read(**variables)
    assert (settings.protocol, settings.endpoint, settings.secure) == (protocol, endpoint, secure)


def test_the_timeout_is_in_milliseconds_and_0_is_none() -> None:
    assert read(TIMEOUT="1500").timeout == 1.5
    assert read(TIMEOUT="1500", TRACES_TIMEOUT="250").timeout == 0.25
    assert read(TIMEOUT="0").timeout is None


def test_headers_are_percent_decoded_and_names_are_lower_case() -> None:
    found = read(HEADERS="Authorization=Bearer%20a%3Db, x-team = shop ,,k=a=b").headers
    assert found == (("authorization", "Bearer a=b"), ("x-team", "shop"), ("k", "a=b"))
    assert read(HEADERS="a=1", TRACES_HEADERS="b=2").headers == (("b", "2"),)


def test_compression_and_files(tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.write_text("pem")
    settings = read(
        COMPRESSION="gzip",
        CERTIFICATE=str(pem),
        CLIENT_KEY=str(pem),
        TRACES_CLIENT_CERTIFICATE=str(pem),
    )
    assert settings.gzip
    assert {settings.certificate, settings.client_key, settings.client_certificate} == {str(pem)}
    assert not read(COMPRESSION="none").gzip


@pytest.mark.parametrize(
    ("variables", "where", "says"),
    [
        ({"PROTOCOL": "http"}, "PROTOCOL", "'http'"),
        ({"TRACES_PROTOCOL": "http/json"}, "TRACES_PROTOCOL", "'http/json'"),
        ({"ENDPOINT": "ftp://c:21"}, "ENDPOINT", "'ftp'"),
        ({"ENDPOINT": "http://"}, "ENDPOINT", "names no host"),
        ({"ENDPOINT": "http://c:port"}, "ENDPOINT", "not a URL"),
        ({"ENDPOINT": "http://c:99999"}, "ENDPOINT", "not a URL"),
        ({"ENDPOINT": "http://a b"}, "ENDPOINT", "names no host"),
        ({"ENDPOINT": "http://c:4317/v1/traces", "PROTOCOL": "grpc"}, "ENDPOINT", "have no path"),
        ({"TRACES_ENDPOINT": "c:4318", "PROTOCOL": "http/protobuf"}, "TRACES_ENDPOINT", "http://"),
        ({"INSECURE": "yes"}, "INSECURE", "'yes'"),
        ({"TIMEOUT": "10s"}, "TIMEOUT", "'10s'"),
        ({"TIMEOUT": "1.5"}, "TIMEOUT", "'1.5'"),
        ({"TRACES_TIMEOUT": "-1"}, "TRACES_TIMEOUT", "'-1'"),
        ({"COMPRESSION": "zstd"}, "COMPRESSION", "'zstd'"),
        ({"CERTIFICATE": "/no/such/file"}, "CERTIFICATE", "/no/such/file"),
        ({"CLIENT_KEY": __file__}, "CLIENT_KEY", "CLIENT_CERTIFICATE"),
        ({"TRACES_CLIENT_CERTIFICATE": __file__}, "TRACES_CLIENT_CERTIFICATE", "CLIENT_KEY"),
        ({"HEADERS": "a=1,secretvalue"}, "HEADERS", "entry 2"),
        ({"HEADERS": "a b=secretvalue"}, "HEADERS", "entry 1"),
        ({"HEADERS": "a=secretvalue%0D%0Ax: y"}, "HEADERS", "entry 1"),
    ],
)
def test_a_wrong_value_names_variable_value_and_mend_but_no_secret(
    variables: dict[str, str], where: str, says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read(**variables)
    assert caught.value.where == P + where
    assert says in str(caught.value)
    assert caught.value.mend
    assert "secretvalue" not in str(caught.value)


def test_credentials_of_an_endpoint_are_not_shown() -> None:
    with pytest.raises(UsageError) as caught:
        read(ENDPOINT="http://joe:secretvalue@c:4317/path", PROTOCOL="grpc")
    assert "secretvalue" not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, False),
        ({P + "ENDPOINT": " "}, False),
        ({P + "ENDPOINT": "http://c"}, True),
        ({P + "TRACES_ENDPOINT": "http://c"}, True),
        ({P + "METRICS_ENDPOINT": "http://c"}, False),
    ],
)
def test_an_endpoint_for_traces_is_recognised(env: dict[str, Any], expected: bool) -> None:
    assert endpoint_is_set(env) is expected
