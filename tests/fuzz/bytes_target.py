"""One protocol's parser under atheris: its bytes are changed as its branches answer.

Run by ``tests/fuzz/run``: python -m tests.fuzz.bytes_target PROTOCOL [libFuzzer's arguments]
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["otel_ebpf.protocols", "otel_ebpf.spans"]):
    from otel_ebpf.protocols.registry import by_name
    from tests.fuzz.conversation import Player


def main() -> None:
    player = Player(by_name[sys.argv.pop(1)])

    def one(data: bytes) -> None:
        player.play(data)

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
