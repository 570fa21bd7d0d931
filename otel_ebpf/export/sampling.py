"""Which traces are kept: OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG.

The decisions are those of the SDK's samplers. They are asked once a trace.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from cachetools import LRUCache

from otel_ebpf.correlation.model import Exchange
from otel_ebpf.errors import UsageError

_SAMPLER = "OTEL_TRACES_SAMPLER"
_ARG = "OTEL_TRACES_SAMPLER_ARG"
_DEFAULT = "parentbased_always_on"
_RATIO = ("traceidratio", "parentbased_traceidratio")
NAMES = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)
_MAX_TRACES = 16384


class TraceSampler:
    """Decides for exchanges whether they become spans. For one thread."""

    def __init__(self, name: str = _DEFAULT, ratio: float = 1.0) -> None:
        self.description = f"{name}({ratio})" if name in _RATIO else name
        self._always = name == "always_on"
        self._follow = name.startswith("parentbased_")
        self._easy = name == _DEFAULT
        self._name = name
        self._ratio = ratio
        self._sampler: Any = None
        # Decisions by trace id, so that spans of one trace share their fate.
        self._decisions: LRUCache[bytes, bool] = LRUCache(_MAX_TRACES)
        self._sampled = 0
        self._unsampled = 0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> TraceSampler:
        """Read the variables. Raises ``UsageError`` for an unknown name or a bad ratio."""
        name = env.get(_SAMPLER, "").strip().lower() or _DEFAULT
        if name not in NAMES:
            raise UsageError(
                f"{name!r} is not a sampler", where=_SAMPLER, mend=f"use one of {', '.join(NAMES)}"
            )
        text = env.get(_ARG, "").strip()
        if name not in _RATIO or not text:
            return cls(name)
        try:
            ratio = float(text)
        except ValueError:
            ratio = math.nan
        if not 0.0 <= ratio <= 1.0:
            raise UsageError(
                f"{text!r} is not a probability", where=_ARG, mend="give a number from 0 to 1"
            )
        return cls(name, ratio)

    def sample(self, exchange: Exchange) -> bool:
        """Whether the exchange is to become a span. Its trace id must be known."""
        decisions = self._decisions
        if self._always or (
            self._easy and exchange.sampled and (not decisions or exchange.parent_remote)
        ):
            self._sampled += 1
            return True
        trace_id = exchange.trace_id
        # A remote parent's flag is the best evidence: it is asked even if the trace is known.
        decision = None if exchange.parent_remote else decisions.get(trace_id)
        if decision is None:
            decision = self._decide(exchange)
            # The plain default needs to remember only what it turned away.
            if not self._easy or not decision:
                decisions[trace_id] = decision
        if decision:
            self._sampled += 1
        else:
            self._unsampled += 1
        return decision

    def filter(self, exchanges: Sequence[Exchange]) -> list[Exchange]:
        """Those of several exchanges that are sampled.

        Better than one by one when a trace's parts come together: the part that carries a
        remote parent's flag decides for those listed before it.
        """
        if self._follow and not self._easy:
            for exchange in exchanges:
                if exchange.parent_remote and exchange.trace_id not in self._decisions:
                    self._decisions[exchange.trace_id] = self._decide(exchange)
        return [exchange for exchange in exchanges if self.sample(exchange)]

    def stats(self) -> dict[str, int]:
        """Counters, with names that stay."""
        return {"spans_sampled": self._sampled, "spans_unsampled": self._unsampled}

    def _decide(self, exchange: Exchange) -> bool:
        trace_id = int.from_bytes(exchange.trace_id, "big")
        context = None
        if (
            self._follow
            and exchange.parent_span_id
            and (exchange.parent_remote or not exchange.sampled)
        ):
            trace = importlib.import_module("opentelemetry.trace")
            parent = trace.SpanContext(
                trace_id,
                int.from_bytes(exchange.parent_span_id, "big"),
                exchange.parent_remote,
                trace.TraceFlags(1 if exchange.sampled else 0),
            )
            context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
        result = self._sdk().should_sample(context, trace_id, "", attributes={})
        return bool(result.decision.is_sampled())

    def _sdk(self) -> Any:
        """The SDK's sampler, loaded when the first decision needs it."""
        if self._sampler is None:
            sdk = importlib.import_module("opentelemetry.sdk.trace.sampling")
            self._sampler = {
                "always_on": lambda: sdk.ALWAYS_ON,
                "always_off": lambda: sdk.ALWAYS_OFF,
                "traceidratio": lambda: sdk.TraceIdRatioBased(self._ratio),
                "parentbased_always_on": lambda: sdk.DEFAULT_ON,
                "parentbased_always_off": lambda: sdk.DEFAULT_OFF,
                "parentbased_traceidratio": lambda: sdk.ParentBasedTraceIdRatio(self._ratio),
            }[self._name]()
        return self._sampler
