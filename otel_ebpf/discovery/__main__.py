"""Print what is read of a program: ``python -m otel_ebpf.discovery FILE...``.

For a Go program: version, module, symbols, TLS offset and struct offsets, with the
time and the memory that reading took.
"""

from __future__ import annotations

import os
import resource
import sys
import time

from otel_ebpf.discovery.go_binary import GoBinary, read_go_binary
from otel_ebpf.discovery.go_fields import home_of
from otel_ebpf.errors import OtelEbpfError


def _show(binary: GoBinary) -> None:
    print(f"  version   {binary.version_text}")
    print(f"  module    {binary.module} {binary.module_version} ({len(binary.deps)} dependencies)")
    print(f"  kind      {'pie' if binary.pie else 'exe'}{', stripped' * binary.stripped}")
    print(f"  g         thread pointer {binary.g_tls_offset}")
    for name, address in sorted(binary.addresses.items()):
        place = binary.symbols.get(name)
        print(f"  symbol    {address:#x} {'data' if place is None else hex(place)} {name}")
    for name, offset in binary.offsets.items():
        print(f"  offset    {offset} {name} by {binary.sources[home_of(name)]}")
    for name, offset in binary.guesses.items():
        print(f"  offset    {offset} {name}, a guess to be proved")


def main(files: list[str]) -> int:
    """Read each file; 0 when every one could be read."""
    failed = 0
    for file in files:
        began = time.perf_counter()
        try:
            binary = read_go_binary(file)
        except OtelEbpfError as error:
            print(error, file=sys.stderr)
            failed = 1
            continue
        except OSError as error:
            print(f"{file}: {error.strerror}\n  mend: name a readable file", file=sys.stderr)
            failed = 1
            continue
        spent = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{file}: {'not Go' if binary is None else 'Go'}, {spent:.3f} s, peak {peak} MiB")
        if binary is not None:
            _show(binary)
    return failed


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
