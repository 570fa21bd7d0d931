"""``otel-ebpf config``: is it right, what is in force, and who said so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

from otel_ebpf.config.document import Key, keys
from otel_ebpf.config.effective import Effective
from otel_ebpf.export.otlp_settings import OtlpSettings
from otel_ebpf.export.queue import QueueSettings
from otel_ebpf.export.sampling import TraceSampler
from otel_ebpf.selection import chosen_log_level
from otel_ebpf.spans.settings import SpanSettings

_OTLP, _TRACES = "OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"
_PAIR_HIDDEN = "..."


def check(env: Mapping[str, str]) -> None:
    """Reads every variable as the agent would, the kernel half's excepted.

    Raises:
        UsageError: for the first that makes no sense.
    """
    chosen_log_level(env)
    SpanSettings.from_env(env)
    TraceSampler.from_env(env)
    OtlpSettings.from_env(env)
    QueueSettings.from_env(env)


def print_settings(stream: TextIO, settings: Effective, flags: Mapping[str, str]) -> None:
    """One line a setting: its key in the file, what is in force, and where that came from.

    ``flags`` holds those that were given, with their values. Values that may hold secrets are
    shown without them.
    """
    told = [(key.key, *_in_force(key, settings, flags)) for key in keys()]
    wide = max(len(key) for key, _, _ in told)
    long = min(48, max(len(value) for _, value, _ in told))
    for name, value, source in told:
        stream.write(f"{name:<{wide}}  {value:<{long}}  {source}\n")


def _in_force(key: Key, settings: Effective, flags: Mapping[str, str]) -> tuple[str, str]:
    given = flags.get(key.flag, "")
    if given:
        return given, key.flag
    # The variables for traces alone win.
    specific = key.variable.replace(_OTLP, _TRACES) if key.variable.startswith(_OTLP) else ""
    for variable in filter(None, (specific, key.variable)):
        value = settings.env.get(variable, "").strip()
        if value:
            place = settings.places.get(variable)
            source = place[1] if place is not None else variable
            return (_hidden(value) if key.secret else value), source
    return key.default or "-", "default"


def _hidden(pairs: str) -> str:
    """The names of ``name=value,...`` alone."""
    names = [pair.partition("=")[0].strip() for pair in pairs.split(",") if pair.strip()]
    return ",".join(f"{name}={_PAIR_HIDDEN}" for name in names)
