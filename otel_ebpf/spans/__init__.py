"""From exchanges to OpenTelemetry spans: conventions, names, redaction, time."""
