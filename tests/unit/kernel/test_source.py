"""Flattening: what a compiler makes of one text is what it makes of the files."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel import source
from otel_ebpf.kernel.paths import bpf_dir
from otel_ebpf.kernel.source import divide, flatten

GUARDED = "#ifndef {0}\n#define {0}\n{1}\n#endif\n"


def put(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + (".c" if name == "main" else ".h"))
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def preprocess(text: str) -> str:
    """By the system's compiler: what is left, without marks and empty lines."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    done = subprocess.run(
        [compiler, "-E", "-P", "-"], input=text, capture_output=True, text=True, check=True
    )
    return re.sub(r"\s+", " ", done.stdout).strip()


def located(text: str, wanted: str) -> tuple[str, int]:
    """File and line that the marks give to the line that contains ``wanted``."""
    file, number = "", 0
    for line in text.splitlines():
        mark = re.match(r'#line (\d+) "(.*)"', line)
        if mark:
            file, number = mark.group(2), int(mark.group(1))
            continue
        if wanted in line:
            return file, number
        number += 1
    raise AssertionError(f"{wanted} is not in the text")


def test_every_line_keeps_its_file_and_number(tmp_path: Path) -> None:
    put(
        tmp_path,
        main='int one;\n#include "a.h"\nint two;\n\n#include <linux/types.h>\nint three;\n',
        a=GUARDED.format("A_H", '#include "deep/b.h"\nint in_a;'),
        deep__b="#pragma once\nint in_b;\n",
    )
    text = flatten(tmp_path, "main.c")
    assert located(text, "int one") == ("bpf/main.c", 1)
    assert located(text, "int two") == ("bpf/main.c", 3)
    assert located(text, "int three") == ("bpf/main.c", 6)
    assert located(text, "int in_a") == ("bpf/a.h", 4)
    assert located(text, "int in_b") == ("bpf/deep/b.h", 2)
    assert "#include <linux/types.h>" in text
    assert '#include "' not in text and "#pragma once" not in text


def test_guarded_files_count_once_and_others_each_time(tmp_path: Path) -> None:
    put(
        tmp_path,
        main='#include "g.h"\n#include "p.h"\n#include "x.h"\n#include "g.h"\n#include "p.h"\n'
        '#include "x.h"\n',
        g="/* a comment first */\n" + GUARDED.format("G", "int g;"),
        p="// also\n#pragma once\nint p;\n",
        x="x\n",
    )
    text = flatten(tmp_path, "main.c")
    assert preprocess(text) == "int g; int p; x x"
    assert text.count("int g;") == 1


def test_a_file_first_met_in_a_dead_branch_is_there_where_it_lives(tmp_path: Path) -> None:
    put(
        tmp_path,
        main='#ifdef NEVER\n#include "g.h"\n#include "p.h"\n#endif\n#include "g.h"\n'
        '#include "p.h"\nint end;\n',
        g=GUARDED.format("G", "int g;"),
        p="#pragma once\nint p;\n",
    )
    assert preprocess(flatten(tmp_path, "main.c")) == "int g; int p; int end;"


def test_guarded_files_may_include_each_other(tmp_path: Path) -> None:
    put(
        tmp_path,
        main='#include "a.h"\n',
        a=GUARDED.format("A", '#include "b.h"\nint a;'),
        b=GUARDED.format("B", '#include "a.h"\nint b;'),
    )
    assert preprocess(flatten(tmp_path, "main.c")) == "int b; int a;"


def test_includes_in_comments_and_strings_are_text(tmp_path: Path) -> None:
    body = (
        '// #include "none.h"\n/*\n#include "none.h"\n*/\nchar *s = "/*";\n'
        'int a; /* x */ int b;\n#include "there.h"\nchar c = \'"\';\n#include "there.h"\n'
    )
    put(tmp_path, main=body, there="int t;\n")
    assert preprocess(flatten(tmp_path, "main.c")).count("int t;") == 2


@pytest.mark.parametrize(
    ("files", "says", "where"),
    [
        ({}, "No such file", "main.c"),
        ({"main": '\n#include "none.h"\n'}, '"none.h" is in no BPF source folder', "bpf/main.c:2"),
        ({"main": '#include "../up.h"\n'}, '"../up.h" is in no', "bpf/main.c:1"),
        (
            {"main": '#include "a.h"\n', "a": '#include "b.h"\n', "b": '\n#include "a.h"\n'},
            "bpf/a.h -> bpf/b.h -> bpf/a.h",
            "bpf/b.h:2",
        ),
    ],
)
def test_what_cannot_be_put_together_says_where(
    tmp_path: Path, files: dict[str, str], says: str, where: str
) -> None:
    folder = tmp_path / "bpf"
    folder.mkdir()
    (tmp_path / "up.h").write_text("int up;\n")
    put(folder, **files)
    with pytest.raises(KernelError) as caught:
        flatten(folder, "main.c")
    assert says in caught.value.what
    assert caught.value.where.endswith(where) and caught.value.mend


def test_a_text_that_doubles_at_each_level_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_MAX_BYTES", 1 << 18)  # sooner
    for level in range(40):
        (tmp_path / f"l{level}.h").write_text(f'#include "l{level + 1}.h"\n' * 2)
    (tmp_path / "l40.h").write_text("x\n")
    with pytest.raises(KernelError, match="grow beyond"):
        flatten(tmp_path, "l0.h")


def test_the_projects_own_sources_go_together() -> None:
    folder = bpf_dir()
    mains = sorted(folder.glob("*.c"))
    assert mains
    for main in mains:
        text = flatten(folder, main.name)
        assert f'#line 1 "bpf/{main.name}"' in text
        assert not re.search(r'^\s*#\s*include\s*"', text, re.MULTILINE)


def test_each_share_has_its_programs_and_the_lines_stay_where_they_are() -> None:
    text = (
        '#line 1 "bpf/a.c"\n'
        "int declared(void *ctx);\n"
        "static int help(int x)\n{\n\treturn x;\n}\n"
        "int prog_one(void *ctx)\n{\n\tif (ctx) {\n\t}\n\treturn help(1);\n}\n"
        "int small(void *ctx)\n{\n\treturn 0;\n}\n"
        "int prog_two(void *ctx)\n{\n\treturn help(2);\n}\n"
    )
    shares = divide(text, 2)
    assert divide(text, 1) == [text]
    assert [share.count("\n") for share in shares] == [text.count("\n")] * 2
    for name in ("int prog_one(", "int prog_two(", "int small("):
        holders = [share for share in shares if name in share]
        assert len(holders) == 1
        assert holders[0].split("\n").index(name + "void *ctx)") == text.split("\n").index(
            name + "void *ctx)"
        )
    assert not [s for s in shares if "prog_one" in s and "prog_two" in s], "the long ones apart"
    assert all("static int help" in share and "int declared" in share for share in shares)
