"""Where tokio keeps the number of the task that runs, read off the code that sets it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.discovery.tokio_runtime import MAX_CODE, MAX_TLS, place_of_task

# TaskIdGuard::enter of tokio 1 as rustc builds it for release.
ENTER = bytes.fromhex(
    "415653504889fb64488b042500000000488d8028ffffff0fb6484883f901742483f902750431c9eb23488d354086feff"
    "4889c74989c6ff15043805004c89f041c6464801488b4830488958304889c84883c4085b415ec3"
)
# The same where the variable needs no destructor: mov rax, fs:[-0xa8]; mov fs:[-0xa8], rdi; ret
DIRECT = bytes.fromhex("64488b042558ffffff6448893c2558ffffffc3")


def test_the_place_is_where_the_argument_replaces_what_was_there() -> None:
    assert place_of_task(ENTER) == -0xD8 + 0x30
    assert place_of_task(DIRECT) == -0xA8


def test_other_code_tells_nothing() -> None:
    assert place_of_task(b"") == 0
    assert place_of_task(ENTER[:60]) == 0, "it ends before it stores"
    assert place_of_task(ENTER.replace(b"\x48\x89\x58\x30", b"\x48\x89\x5b\x30")) == 0, "elsewhere"
    assert place_of_task(bytes.fromhex("488b4730488977304889c8c3")) == 0, "a member of an object"


@given(st.binary(max_size=MAX_CODE), st.integers(0, len(ENTER)))
def test_whatever_the_code_is_the_place_is_below_the_thread_pointer(code: bytes, at: int) -> None:
    for told in (code, ENTER[:at] + code):
        assert -MAX_TLS < place_of_task(told) <= 0
