"""Zero-code OpenTelemetry tracing from kernel events."""

__version__ = "0.1.0"
