"""The OTEL_EXPORTER_OTLP_* variables, in the units and meanings of the specification."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from otel_ebpf.errors import UsageError

GRPC = "grpc"
HTTP_PROTOBUF = "http/protobuf"

_PREFIX = "OTEL_EXPORTER_OTLP_"
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DEFAULT_TIMEOUT_MS = 10_000


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """Where spans go and how.

    Attributes:
        protocol: ``grpc`` or ``http/protobuf``.
        endpoint: the full URL of the traces endpoint for HTTP; gRPC's target
            (``host:port`` or ``unix:...``) for gRPC.
        secure: TLS. certificate, client_key, client_certificate: paths or "".
        headers: name in lower case -> value.
        gzip: compress requests.
        timeout: seconds for one request; None waits for ever.
    """

    protocol: str = GRPC
    endpoint: str = "localhost:4317"
    secure: bool = False
    certificate: str = ""
    client_key: str = ""
    client_certificate: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    gzip: bool = False
    timeout: float | None = _DEFAULT_TIMEOUT_MS / 1000

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> OtlpSettings:
        """Read the variables; those with ``TRACES_`` win. Empty is the same as unset.

        Raises ``UsageError`` that names the variable, what is wrong and the mend. Header
        values and the like are never part of the text.
        """
        endpoint_variable, endpoint = _get(env, "ENDPOINT")
        protocol = _protocol(env, endpoint)
        if protocol == GRPC:
            target, secure = _grpc_target(env, endpoint_variable, endpoint)
        else:
            target = _http_url(endpoint_variable, endpoint)
            secure = target.startswith("https:")
        key, certificate = _file(env, "CLIENT_KEY"), _file(env, "CLIENT_CERTIFICATE")
        if bool(key) != bool(certificate):
            have, lack = ("CLIENT_KEY", "CLIENT_CERTIFICATE")[:: 1 if key else -1]
            raise UsageError(
                f"is set without {_PREFIX}{lack}",
                where=_get(env, have)[0],
                mend="give both for mutual TLS, or neither",
            )
        variable, compression = _get(env, "COMPRESSION")
        if compression not in ("", "none", "gzip"):
            raise UsageError(
                f"{compression!r} is not supported", where=variable, mend="use gzip or none"
            )
        return cls(
            protocol=protocol,
            endpoint=target,
            secure=secure,
            certificate=_file(env, "CERTIFICATE"),
            client_key=key,
            client_certificate=certificate,
            headers=_headers(*_get(env, "HEADERS")),
            gzip=compression == "gzip",
            timeout=_timeout(*_get(env, "TIMEOUT")),
        )


def endpoint_is_set(env: Mapping[str, str]) -> bool:
    """Whether an OTLP endpoint for traces is given."""
    return bool(_get(env, "ENDPOINT")[1])


def _get(env: Mapping[str, str], name: str) -> tuple[str, str]:
    """The variable that decides, and its value."""
    for variable in (f"{_PREFIX}TRACES_{name}", f"{_PREFIX}{name}"):
        value = env.get(variable, "").strip()
        if value:
            return variable, value
    return f"{_PREFIX}{name}", ""


def _protocol(env: Mapping[str, str], endpoint: str) -> str:
    variable, protocol = _get(env, "PROTOCOL")
    if not protocol:
        # The well-known ports tell which one is meant; gRPC is this language's default.
        path = endpoint.partition("://")[2].partition("/")[2]
        http = path or re.search(r":4318(/|$)", endpoint)
        return HTTP_PROTOBUF if http and not endpoint.startswith("unix:") else GRPC
    if protocol not in (GRPC, HTTP_PROTOBUF):
        raise UsageError(
            f"{protocol!r} is not supported", where=variable, mend="use grpc or http/protobuf"
        )
    return protocol


def _split(variable: str, endpoint: str) -> SplitResult:
    try:
        url = urlsplit(endpoint)
        port = url.port
    except ValueError as error:
        raise UsageError(
            f"{_shown(endpoint)!r} is not a URL: {error}",
            where=variable,
            mend="use a form like http://collector:4317",
        ) from None
    if not url.hostname or port == 0 or re.search(r"[\s\x00-\x1f\x7f]", endpoint):
        raise UsageError(
            f"{_shown(endpoint)!r} names no host and port to send to",
            where=variable,
            mend="use a form like http://collector:4317",
        )
    return url


def _shown(endpoint: str) -> str:
    return re.sub(r"//[^/@]*@", "//...@", endpoint)


def _grpc_target(env: Mapping[str, str], variable: str, endpoint: str) -> tuple[str, bool]:
    insecure_variable, insecure = _get(env, "INSECURE")
    if insecure.lower() not in ("", "true", "false"):
        raise UsageError(
            f"{insecure!r} is neither true nor false",
            where=insecure_variable,
            mend="use true or false",
        )
    if not endpoint:
        return "localhost:4317", False
    if endpoint.startswith("unix:"):
        return endpoint, False
    scheme = endpoint.partition("://")[0].lower() if "://" in endpoint else ""
    if scheme not in ("", "http", "https"):
        raise UsageError(
            f"{scheme!r} is not a scheme for gRPC", where=variable, mend="use http:// or https://"
        )
    url = _split(variable, endpoint if scheme else f"//{endpoint}")
    if url.path not in ("", "/") or url.query:
        raise UsageError(
            f"gRPC endpoints have no path, but {_shown(endpoint)!r} has one",
            where=variable,
            mend=f"set {_PREFIX}PROTOCOL=http/protobuf, or leave the path out",
        )
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    default = 443 if scheme == "https" else 4317
    # INSECURE decides only where the endpoint has no scheme that says it.
    secure = scheme == "https" or (not scheme and insecure.lower() != "true")
    return f"{host}:{url.port or default}", secure


def _http_url(variable: str, endpoint: str) -> str:
    if not endpoint:
        return "http://localhost:4318/v1/traces"
    if endpoint.partition("://")[0].lower() not in ("http", "https"):
        raise UsageError(
            f"{_shown(endpoint)!r} has no http:// or https:// in front",
            where=variable,
            mend="use a form like http://collector:4318",
        )
    url = _split(variable, endpoint)
    path = url.path or "/"
    if variable == f"{_PREFIX}ENDPOINT":
        path = path.rstrip("/") + "/v1/traces"
    return url._replace(scheme=url.scheme.lower(), path=path, fragment="").geturl()


def _file(env: Mapping[str, str], name: str) -> str:
    variable, path = _get(env, name)
    if path and not (os.path.isfile(path) and os.access(path, os.R_OK)):
        raise UsageError(
            f"cannot read the file {path!r}", where=variable, mend="give the path of a PEM file"
        )
    return path


def _headers(variable: str, text: str) -> tuple[tuple[str, str], ...]:
    headers: dict[str, str] = {}
    for number, pair in enumerate(text.split(","), 1):
        if not pair.strip():
            continue
        name, equals, value = pair.partition("=")
        name = unquote(name.strip()).lower()
        value = unquote(value.strip())
        if not equals or _NAME.fullmatch(name) is None:
            problem = "is not of the form name=value"
        elif not value.isprintable() or not value.isascii():
            problem = "has a value with characters that no header may hold"
        else:
            headers[name] = value
            continue
        raise UsageError(
            f"entry {number} {problem}",
            where=variable,
            mend="give name=value pairs separated by commas, special characters as %XX",
        )
    return tuple(headers.items())


def _timeout(variable: str, text: str) -> float | None:
    if not text:
        return _DEFAULT_TIMEOUT_MS / 1000
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise UsageError(
            f"{text!r} is not a number of milliseconds",
            where=variable,
            mend="give whole milliseconds, 10000 for ten seconds; 0 waits for ever",
        )
    return int(text) / 1000 or None
