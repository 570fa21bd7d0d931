"""Our names are the conventions' names, and what the conventions call secret is redacted."""

from __future__ import annotations

import importlib
import re

import pytest
from opentelemetry.semconv import schemas
from opentelemetry.semconv.attributes import http_attributes, url_attributes

from otel_ebpf.spans import semconv

_FOLDER = {
    "CLIENT": "client",
    "DB": "db",
    "DNS": "dns",
    "ERROR": "error",
    "HTTP": "http",
    "MESSAGING": "messaging",
    "NETWORK": "network",
    "RPC": "rpc",
    "SERVER": "server",
    "SERVICE": "service",
    "URL": "url",
    "USER": "user_agent",
    "PROCESS": "process",
}
_NAMES = [
    name
    for name, value in vars(semconv).items()
    if name.isupper() and isinstance(value, str) and re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", value)
]
_OURS = {"PARENT_RULE", "TRUNCATED", "DNS_TRUNCATED"}
_ECS = {"DNS_QUESTION_TYPE", "DNS_RESPONSE_CODE"}
"""Of the Elastic Common Schema, where the conventions have no name yet."""


@pytest.mark.parametrize("name", sorted(set(_NAMES) - _OURS - _ECS))
def test_an_attribute_is_spelled_as_the_conventions_spell_it(name: str) -> None:
    area = _FOLDER[name.split("_")[0]]
    for package in ("attributes", "_incubating.attributes"):
        try:
            module = importlib.import_module(f"opentelemetry.semconv.{package}.{area}_attributes")
        except ModuleNotFoundError:
            continue
        if hasattr(module, name):
            assert getattr(module, name) == getattr(semconv, name)
            return
    pytest.fail(f"the conventions have no {name}")


def test_the_tracers_own_attributes_are_in_its_own_namespace() -> None:
    assert {getattr(semconv, name).split(".")[0] for name in _OURS} == {"otel_ebpf"}


def test_known_methods_are_those_of_the_conventions() -> None:
    theirs = {method.value for method in http_attributes.HttpRequestMethodValues}
    assert theirs - {semconv.METHOD_OTHER} <= semconv.KNOWN_METHODS
    assert "QUERY" in semconv.KNOWN_METHODS


def test_every_parameter_that_the_conventions_call_secret_is_redacted() -> None:
    module_file = url_attributes.__file__
    assert module_file is not None
    with open(module_file, encoding="utf-8") as file:
        listed = set(re.findall(r"^\* \[`([^`]+)`\]", file.read(), re.MULTILINE))
    assert len(listed) >= 5
    assert listed <= set(semconv.SENSITIVE_QUERY_KEYS)


def test_the_schema_is_one_that_exists() -> None:
    assert semconv.SCHEMA_URL in {schema.value for schema in schemas.Schemas}
