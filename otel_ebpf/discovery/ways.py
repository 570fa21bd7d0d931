"""What may be asked for of Go programs, for who reads flags: nothing that reads programs comes
with it."""

from __future__ import annotations

IDENTITY_WAYS = ("auto", "tls", "uprobe", "both")
"""How goroutines are told apart (``go_identity``). ``both`` has the scheduler watched too and
compares."""
PASSIVE, UPROBE, BOTH = "passive", "uprobe", "both"
HEADER_WAYS = (PASSIVE, UPROBE, BOTH)
"""Where headers of HTTP/2 come from (``go_headers``): the bytes alone, the program where the bytes
do not say all, or the program for every block."""
