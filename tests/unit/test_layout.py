"""C and Python describe the same bytes: bpf/records.h compiled, read back through DWARF."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

from otel_ebpf.events import layout
from otel_ebpf.kernel.counters import STATS

RECORDS = Path(__file__).resolve().parents[2] / "bpf" / "records.h"
COMPILER = shutil.which("gcc") or shutil.which("cc")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")


class Dwarf:
    """Structures and enumerations of one compiled header."""

    def __init__(self, path: Path) -> None:
        self.structs: dict[str, DIE] = {}
        self.enums: dict[str, dict[str, int]] = {}
        with path.open("rb") as file:
            for unit in ELFFile(file).get_dwarf_info().iter_CUs():
                for die in unit.iter_DIEs():
                    name = _attribute(die, "name", b"").decode()
                    if die.tag == "DW_TAG_structure_type":
                        self.structs[name] = die
                        list(die.iter_children())  # read while the file is open
                    elif die.tag == "DW_TAG_enumeration_type":
                        self.enums[name] = {
                            _attribute(child, "name", b"").decode(): _attribute(
                                child, "const_value", None
                            )
                            for child in die.iter_children()
                        }
            self.members = {name: self._members(die) for name, die in self.structs.items()}
            self.sizes = {name: _attribute(d, "byte_size", 0) for name, d in self.structs.items()}

    def _members(self, die: DIE) -> list[tuple[str, int, int]]:
        """(name, offset, size) of each member, in the order of the header."""
        return [
            (
                _attribute(child, "name", b"").decode(),
                _attribute(child, "data_member_location", 0),
                _size(child.get_DIE_from_attribute("DW_AT_type")),
            )
            for child in die.iter_children()
            if child.tag == "DW_TAG_member"
        ]


def _attribute(die: DIE, name: str, default: Any) -> Any:
    found = die.attributes.get(f"DW_AT_{name}")
    return default if found is None else found.value


def _size(die: DIE) -> int:
    """Bytes of a type, through typedefs and arrays."""
    if die.tag == "DW_TAG_array_type":
        count = 1
        for child in die.iter_children():
            count *= _attribute(child, "upper_bound", -1) + 1
        return count * _size(die.get_DIE_from_attribute("DW_AT_type"))
    if "DW_AT_byte_size" in die.attributes:
        return int(die.attributes["DW_AT_byte_size"].value)
    return _size(die.get_DIE_from_attribute("DW_AT_type"))


@pytest.fixture(scope="module")
def dwarf(tmp_path_factory: pytest.TempPathFactory) -> Dwarf:
    folder = tmp_path_factory.mktemp("layout")
    source = folder / "layout.c"
    # Types that nothing uses are left out of the debug information.
    enums = ("record_type", "direction", "role", "family", "begins", "parent_rule", "tls_call")
    source.write_text(
        f'#include "{RECORDS}"\n'
        "struct __socket_data record;\nstruct __socket_data_buffer burst;\n"
        + "".join(f"enum {name} of_{name};\n" for name in (*enums, "record_flags", "stat"))
    )
    done = subprocess.run(
        [
            *(str(COMPILER), "-g", "-c", "-Wall", "-Werror", "-DOTEL_EBPF_HOST_COMPILE"),
            *("-o", str(folder / "layout.o"), str(source)),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return Dwarf(folder / "layout.o")


def _mirror(members: tuple[tuple[str, str], ...]) -> list[tuple[str, int, int]]:
    out, at = [], 0
    for name, form in members:
        size = struct.calcsize("<" + form)
        out.append((name, at, size))
        at += size
    return out


def test_every_member_of_a_record_is_where_python_looks_for_it(dwarf: Dwarf) -> None:
    assert dwarf.members["__socket_data"] == _mirror(layout.RECORD_MEMBERS)
    assert dwarf.sizes["__socket_data"] == layout.RECORD.size


def test_every_member_of_a_burst_is_where_python_looks_for_it(dwarf: Dwarf) -> None:
    members = dwarf.members["__socket_data_buffer"]
    assert members[:-1] == _mirror(layout.BURST_MEMBERS)
    # What follows the header is data, without padding in between or behind.
    name, at, size = members[-1]
    assert (name, at) == ("data", layout.BURST.size)
    assert dwarf.sizes["__socket_data_buffer"] == at + size


def test_a_burst_fits_a_per_cpu_value_and_its_size_fits_a_record(dwarf: Dwarf) -> None:
    assert dwarf.sizes["__socket_data_buffer"] <= 32768, "more is refused by the kernel"
    assert dwarf.sizes["__socket_data"] % 8 == 0, "records follow each other 8-aligned"


ENUMS = {
    # enum of the header -> (prefix there, prefix in layout.py)
    "record_type": ("RECORD_", ""),
    "role": ("ROLE_", "ROLE_"),
    "family": ("FAMILY_", "FAMILY_"),
    "begins": ("BEGINS_", ""),
    "parent_rule": ("RULE_", "RULE_"),
    "record_flags": ("FLAG_", "FLAG_"),
    "tls_call": ("", ""),
}


@pytest.mark.parametrize("name", ENUMS)
def test_every_word_has_the_same_value(name: str, dwarf: Dwarf) -> None:
    there, here = ENUMS[name]
    for word, value in dwarf.enums[name].items():
        mirrored = here + word.removeprefix(there)
        assert getattr(layout, mirrored) == value, word


def test_flags_fit_their_byte(dwarf: Dwarf) -> None:
    flags = dwarf.enums["record_flags"].values()
    sizes = {name: size for name, _, size in dwarf.members["__socket_data"]}
    assert max(flags) < 1 << 8 * sizes["flags"]
    assert sum(flags) == max(flags) * 2 - 1, "one bit each"


def test_counters_are_named_in_the_header_s_order(dwarf: Dwarf) -> None:
    stats = dict(dwarf.enums["stat"])
    room = stats.pop("STAT_COUNT")
    assert sorted(stats.values()) == list(range(len(stats)))
    assert len(stats) <= room
    assert len(STATS) == len(stats), "each counter has a name"
    # The names are for readers; what must agree is which counter is which.
    words = {name: " ".join(name.removeprefix("STAT_").lower().split("_")) for name in stats}
    renamed = {"taken back": "sends taken back", "self": "own traffic"}
    for name, index in stats.items():
        word = renamed.get(words[name], words[name])
        assert STATS[index].replace("_", " ") == word, name


def test_both_halves_number_a_stream_the_same(tmp_path: Path) -> None:
    sockets = (0, 1, 0xFFFFFF, 0x1000001, (3 << 48) + 70_000, (1 << 56) + (1 << 48) + 5)
    streams = (0, 1, 3, 0x7FFFFFFF, 0xFFFFFFFF)
    pairs = [(socket, stream) for socket in sockets for stream in streams]
    types = RECORDS.parent / "http2_types.h"
    source = tmp_path / "uid.c"
    source.write_text(
        f'#include "{types}"\n#include <stdio.h>\nint main(void)\n{{\n'
        + "".join(
            f'\tprintf("%llu\\n", (unsigned long long)stream_uid({s}ULL, {n}U));\n'
            for s, n in pairs
        )
        + "}\n"
    )
    program = tmp_path / "uid"
    subprocess.run(
        [str(COMPILER), "-DOTEL_EBPF_HOST_COMPILE", "-o", str(program), str(source)],
        check=True,
    )
    said = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    assert [int(line) for line in said.split()] == [layout.stream_uid(*pair) for pair in pairs]
    # None is the number of an HTTP/1 request, whose bit 63 is clear (the CPU's are below).
    assert all(layout.stream_uid(*pair) >> 63 == 1 for pair in pairs)
