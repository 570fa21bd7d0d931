"""BTF reading: the same answers as bpftool's, on this kernel and on BTF made by hand."""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel.btf import VMLINUX, Btf, MemberNotFound
from otel_ebpf.kernel.offsets import ABSENT, kernel_offsets

needs_btf = pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel shows no BTF")

INT, PTR, STRUCT, UNION, FWD, TYPEDEF, CONST = 1, 2, 4, 5, 7, 8, 10


class Maker:
    """Writes BTF. Types are numbered from 1 in the order in which they are added."""

    def __init__(self) -> None:
        self.types = b""
        self.text = b"\0"
        self.count = 0

    def string(self, text: str) -> int:
        if not text:
            return 0
        self.text += text.encode() + b"\0"
        return len(self.text) - len(text) - 1

    def add(
        self,
        kind: int,
        name: str,
        size_or_type: int,
        tail: bytes = b"",
        vlen: int = 0,
        flag: int = 0,
    ) -> int:
        info = vlen | kind << 24 | flag << 31
        self.types += struct.pack("=III", self.string(name), info, size_or_type) + tail
        self.count += 1
        return self.count

    def integer(self, name: str, size: int, bits: int = 0) -> int:
        return self.add(INT, name, size, struct.pack("=I", bits or size * 8))

    def struct(
        self, name: str, *members: tuple[str, int, int], kind: int = STRUCT, flag: int = 0
    ) -> int:
        tail = b"".join(struct.pack("=III", self.string(n), t, at) for n, t, at in members)
        return self.add(kind, name, 64, tail, len(members), flag)

    def data(self) -> bytes:
        head = struct.pack(
            "=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.text)
        )
        return head + self.types + self.text


def test_members_of_anonymous_and_embedded_structures_through_typedefs() -> None:
    make = Maker()
    u32 = make.integer("u32", 4)
    # Ids of types that come later are known from the order.
    make.struct("outer", ("a", u32, 0), ("", 3, 64), ("inner", 5, 256))
    make.struct("", ("b", u32, 0), ("", 4, 32), kind=UNION)
    make.struct("", ("c", u32, 32))
    make.add(TYPEDEF, "inner_t", 6)
    make.add(CONST, "", 7)
    make.struct("inner", ("d", u32, 96))
    btf = Btf(make.data())
    assert [btf.offset(f"outer.{m}") for m in ("a", "b", "c", "inner", "inner.d")] == [
        0,
        8,
        16,
        32,
        44,
    ]
    assert btf.offset("inner.d") == 12
    for absent in ("outer.d", "outer.a.b", "none.a", "inn.d", "outer"):
        with pytest.raises(MemberNotFound, match=absent.split(".")[0]):
            btf.offset(absent)


def test_a_forward_declaration_or_a_typedef_of_the_name_is_not_the_structure() -> None:
    make = Maker()
    make.add(FWD, "thing", 0)
    make.add(TYPEDEF, "thing", 0)
    u32 = make.integer("thing", 4)
    make.struct("thing", ("x", u32, 64))
    assert Btf(make.data()).offset("thing.x") == 8


def test_a_name_that_is_the_tail_of_another_string_is_found() -> None:
    make = Maker()
    u32 = make.integer("u32", 4)
    make.struct("wide_socket", ("my_type", u32, 32))
    data = make.data()
    shared = Maker()
    shared.text = make.text
    at = make.text.index(b"wide_socket") + 5
    member = make.text.index(b"my_type") + 3
    shared.types = make.types + struct.pack("=III III", at, 1 | STRUCT << 24, 8, member, u32, 16)
    assert Btf(data).offset("wide_socket.my_type") == 4
    assert Btf(shared.data()).offset("socket.type") == 2


@pytest.mark.parametrize("flag", [0, 1])
def test_bitfields_are_refused(flag: int) -> None:
    make = Maker()
    u32 = make.integer("u32", 4)
    old_style = make.integer("u32", 4, bits=8)
    members = (
        [("bits", u32, 8 << 24 | 32), ("plain", u32, 64)]
        if flag
        else [("bits", old_style, 32), ("plain", u32, 64)]
    )
    make.struct("s", *members, flag=flag)
    btf = Btf(make.data())
    assert btf.offset("s.plain") == 8
    with pytest.raises(MemberNotFound, match="bitfield"):
        btf.offset("s.bits")


def test_circles_of_typedefs_and_structures_end() -> None:
    make = Maker()
    make.struct("s", ("", 2, 0), ("t", 3, 0))
    make.struct("", ("", 2, 0))
    make.add(TYPEDEF, "t", 3)
    for path in ("s.x", "s.t.x"):
        with pytest.raises(KernelError, match="more than"):
            Btf(make.data()).offset(path)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes"),
        (b"\x7fELF" + bytes(40), "starts with"),
        (struct.pack("=HBBIIIII", 0xEB9F, 2, 0, 24, 0, 0, 0, 0), "version 2"),
        (struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 400, 400, 1), "shorter"),
    ],
)
def test_what_is_no_btf_is_refused_with_a_mend(data: bytes, says: str) -> None:
    with pytest.raises(KernelError, match=says) as caught:
        Btf(data, "the file")
    assert caught.value.where == "the file" and "CONFIG_DEBUG_INFO_BTF" in caught.value.mend


@given(st.data())
def test_damage_gives_a_number_or_a_clear_error(draw: st.DataObject) -> None:
    make = Maker()
    u32 = make.integer("u32", 4)
    make.struct("s", ("a", u32, 0), ("", 3, 32), ("z", 4, 64))
    make.struct("", ("b", u32, 0))
    make.add(TYPEDEF, "t", 3)
    data = bytearray(make.data())
    for _ in range(draw.draw(st.integers(1, 6))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        btf = Btf(bytes(data))
        for path in ("s.b", "s.z.b", "s.none"):
            with contextlib.suppress(MemberNotFound):
                assert btf.offset(path) >= 0
    except KernelError as error:
        assert error.mend


@pytest.fixture(scope="module")
def bpftool() -> dict[str, Any]:
    """struct name -> bpftool's type, and "" -> all types by id."""
    tool = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin:/sbin")
    if tool is None:
        pytest.skip("bpftool is not installed (apt-get install bpftool)")
    done = subprocess.run(
        [tool, "--json", "btf", "dump", "file", str(VMLINUX), "format", "raw"],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"bpftool cannot read this kernel's BTF: {done.stderr.decode()[:200]}")
    types = json.loads(done.stdout)["types"]
    found: dict[str, Any] = {"": {t["id"]: t for t in types}}
    for entry in types:
        if entry["kind"] in ("STRUCT", "UNION"):
            found.setdefault(entry["name"], entry)
    return found


def expected(bpftool: dict[str, Any], path: str) -> int | None:
    """The offset by bpftool's listing, in bytes."""
    by_id = bpftool[""]

    def behind(number: int) -> dict[str, Any]:
        entry: dict[str, Any] = by_id[number]
        while entry["kind"] in ("TYPEDEF", "CONST", "VOLATILE", "RESTRICT", "TYPE_TAG"):
            entry = by_id[entry["type_id"]]
        return entry

    def within(entry: dict[str, Any], name: str) -> tuple[int, int] | None:
        for member in entry.get("members", []):
            if member["name"] == name:
                return member["bits_offset"], member["type_id"]
            if member["name"] == "(anon)":
                inner = within(behind(member["type_id"]), name)
                if inner:
                    return member["bits_offset"] + inner[0], inner[1]
        return None

    first, *rest = path.split(".")
    entry, total = bpftool.get(first), 0
    for step in rest:
        hit = within(entry, step) if entry else None
        if hit is None:
            return None
        total += hit[0]
        entry = behind(hit[1]) if hit[1] in by_id else None
    return total // 8


@needs_btf
def test_every_offset_agrees_with_bpftool(bpftool: dict[str, Any]) -> None:
    offsets = kernel_offsets(Btf.load())
    renamed = {"iov_iter.iov": "iov_iter.__iov"}
    assert len(offsets) > 40
    for path, offset in offsets.items():
        want = expected(bpftool, path)
        if want is None and path in renamed:
            want = expected(bpftool, renamed[path])
        assert offset == (ABSENT if want is None else want), path


@needs_btf
def test_function_ids_agree_with_bpftool(bpftool: dict[str, Any]) -> None:
    btf = Btf.load()
    for name in ("tcp_sendmsg", "tcp_recvmsg"):
        kind = bpftool[""][btf.function_id(name)]
        assert (kind["kind"], kind["name"]) == ("FUNC", name)
    with pytest.raises(MemberNotFound):
        btf.function_id("no_such_function_here")


@needs_btf
def test_offsets_obey_the_abi_of_sockets() -> None:
    offsets = kernel_offsets(Btf.load())
    # skc_addrpair and skc_portpair are compared as one word by the kernel's socket lookup.
    assert offsets["sock_common.skc_rcv_saddr"] == offsets["sock_common.skc_daddr"] + 4
    assert offsets["sock_common.skc_num"] == offsets["sock_common.skc_dport"] + 2
    assert offsets["task_struct.tgid"] == offsets["task_struct.pid"] + 4
    assert min(offsets.values()) >= ABSENT


def test_an_unsupported_machine_and_a_missing_member_say_so() -> None:
    make = Maker()
    make.struct("task_struct", ("files", make.integer("u32", 4), 0))
    btf = Btf(make.data())
    with pytest.raises(KernelError, match="s390x is not supported"):
        kernel_offsets(btf, "s390x")
    with pytest.raises(KernelError, match=r"lacks .*task_struct\.tgid") as caught:
        kernel_offsets(btf, "x86_64")
    assert caught.value.mend


def test_aarch64_takes_the_thread_pointer_from_its_own_member() -> None:
    make = Maker()
    u32 = make.integer("u32", 4)
    make.struct("uw", ("tp_value", u32, 64))
    make.struct("thread_struct", ("uw", 2, 128))
    make.struct("task_struct", ("thread", 3, 512))
    with pytest.raises(KernelError) as caught:
        kernel_offsets(Btf(make.data()), "aarch64")
    assert "fsbase" not in str(caught.value)
    assert "task_struct.files" in str(caught.value)


def test_hidden_btf_names_the_file_and_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> bytes:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("otel_ebpf.kernel.sysbpf.kernel_btf", refused)
    (tmp_path / "empty").touch()
    for name, says in (("none", "No such file"), ("empty", "is empty")):
        with pytest.raises(KernelError, match=says) as caught:
            Btf.load(tmp_path / name)
        assert caught.value.where == str(tmp_path / name)
        assert "Operation not permitted" in str(caught.value)


@needs_btf
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the bound was set on x86_64")
def test_the_offsets_cost_no_noticeable_start_time() -> None:
    # Processor time, which other programs on the machine do not stretch; three tries.
    def once() -> float:
        before = time.process_time()
        kernel_offsets(Btf.load())
        return time.process_time() - before

    assert min(once() for _ in range(3)) < 0.15
