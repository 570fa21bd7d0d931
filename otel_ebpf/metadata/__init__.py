"""Who a process is: its OpenTelemetry resource."""
