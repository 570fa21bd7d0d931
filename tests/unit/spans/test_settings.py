"""The variables that concern spans, and what is said about wrong values."""

from __future__ import annotations

import pytest

from otel_ebpf.errors import UsageError
from otel_ebpf.spans.semconv import KNOWN_METHODS
from otel_ebpf.spans.settings import SpanSettings

CAPTURE = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_"


def test_nothing_is_captured_by_default() -> None:
    settings = SpanSettings.from_env({})
    assert settings == SpanSettings()
    assert settings.server_request_headers == settings.client_response_headers == ()


def test_each_capture_variable_goes_to_its_own_list() -> None:
    settings = SpanSettings.from_env(
        {
            CAPTURE + "SERVER_REQUEST": "X-Request-Id, content-type ,,x-request-id",
            CAPTURE + "SERVER_RESPONSE": "Server",
            CAPTURE + "CLIENT_REQUEST": "Accept",
            CAPTURE + "CLIENT_RESPONSE": "Via",
        }
    )
    assert settings.server_request_headers == ("x-request-id", "content-type")
    assert settings.server_response_headers == ("server",)
    assert settings.client_request_headers == ("accept",)
    assert settings.client_response_headers == ("via",)


def test_known_methods_are_replaced_not_extended() -> None:
    env = {"OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS": "GET,PURGE"}
    assert SpanSettings.from_env(env).known_methods == {"GET", "PURGE"}
    assert SpanSettings.from_env({}).known_methods == KNOWN_METHODS


def test_the_spans_own_limit_wins_over_the_general_one() -> None:
    env = {
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "10",
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "20",
    }
    assert SpanSettings.from_env(env).value_length_limit == 20
    del env["OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"]
    assert SpanSettings.from_env(env).value_length_limit == 10


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (CAPTURE + "SERVER_REQUEST", "x request id"),
        (CAPTURE + "CLIENT_RESPONSE", "a,b:c"),
        ("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET,(x)"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-1"),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "many"),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "²"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_variable_value_and_mend(
    variable: str, value: str
) -> None:
    with pytest.raises(UsageError) as caught:
        SpanSettings.from_env({variable: value})
    assert caught.value.where == variable
    assert caught.value.mend
