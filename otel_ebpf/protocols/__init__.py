"""Sans-IO protocol parsers: one module a protocol, found through :mod:`.registry`."""
