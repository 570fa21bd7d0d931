"""Make the exporter that the command line and the environment ask for."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import TextIO

from otel_ebpf.errors import UsageError
from otel_ebpf.export.base import Counters, Exporter, Result
from otel_ebpf.export.console import ConsoleExporter
from otel_ebpf.export.drafts import Drafts
from otel_ebpf.export.json_lines import JsonExporter
from otel_ebpf.export.otlp_settings import GRPC, OtlpSettings, endpoint_is_set
from otel_ebpf.export.queue import ExportQueue, QueueSettings
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.model import Span
from otel_ebpf.spans.settings import SpanSettings

OUTPUTS = ("auto", "console", "json", "otlp")
_EXPORTER = "OTEL_TRACES_EXPORTER"
_GROUP = "opentelemetry_traces_exporter"


class NullExporter(Counters):
    """Throws spans away and counts them: OTEL_TRACES_EXPORTER=none."""

    def export(self, spans: Sequence[Span]) -> Result:
        """Count the spans."""
        return self.count(Result(dropped={"no_exporter": len(spans)}))

    def shutdown(self) -> None:
        """Nothing to let go of."""


def make_exporter(output: str, env: Mapping[str, str], stream: TextIO) -> Exporter:
    """The exporter for ``--output``. ``stream`` is where console and json write.

    ``auto`` follows OTEL_TRACES_EXPORTER (otlp, console, none, or the name of an exporter
    that an installed package provides); without it OTLP when an endpoint is set, else the
    console. Raises ``UsageError`` for what cannot be.
    """
    if output not in OUTPUTS:
        raise UsageError(
            f"{output!r} is not an output", where="--output", mend=f"use {', '.join(OUTPUTS)}"
        )
    if output == "auto":
        name = env.get(_EXPORTER, "").strip()
        if name not in OUTPUTS and name:
            return _named(name)
        output = name if name and name != "auto" else ""
        output = output or ("otlp" if endpoint_is_set(env) else "console")
    if output == "console":
        return ConsoleExporter(stream)
    if output == "json":
        return JsonExporter(stream)
    settings = OtlpSettings.from_env(env)
    # Only the transport that is used gets loaded; each costs megabytes.
    if settings.protocol == GRPC:
        module = importlib.import_module("otel_ebpf.export.otlp_grpc")
        exporter: Exporter = module.OtlpGrpcExporter(settings)
    else:
        module = importlib.import_module("otel_ebpf.export.otlp_http")
        exporter = module.OtlpHttpExporter(settings)
    return exporter


def make_queue(exporter: Exporter, env: Mapping[str, str], *, block: bool = False) -> ExportQueue:
    """A queue in front of the exporter: quick for a person who looks on, else in batches."""
    delay = 0.2 if isinstance(exporter, (ConsoleExporter, JsonExporter)) else 1.0
    return ExportQueue(exporter, QueueSettings.from_env(env, delay=delay, block=block))


def make_drafts(exporter: Exporter, builder: SpanBuilder, settings: SpanSettings) -> Drafts | None:
    """The short way from exchanges to the exporter's encoded spans, if it takes those."""
    encoder = getattr(exporter, "encoder", None)
    return None if encoder is None else Drafts(builder, encoder, settings)


def _named(name: str) -> Exporter:
    """An exporter of the SDK's entry points, behind the adapter."""
    if name == "none":
        return NullExporter()
    found = list(importlib.metadata.entry_points(group=_GROUP, name=name))
    if not found:
        known = {point.name for point in importlib.metadata.entry_points(group=_GROUP)}
        names = sorted(known | {"otlp", "console", "json", "none"})
        raise UsageError(
            f"no exporter named {name!r} is installed",
            where=_EXPORTER,
            mend=f"use one of {', '.join(names)}, or install the package that provides it",
        )
    sdk = importlib.import_module("otel_ebpf.export.sdk")
    try:
        exporter: Exporter = sdk.SdkExporter(found[0].load()())
    except Exception as error:
        raise UsageError(
            f"exporter {name!r} cannot start: {type(error).__name__}: {error}",
            where=_EXPORTER,
            mend="check its settings and that its package fits the installed SDK",
        ) from None
    return exporter
