"""The BPF sources as one text.

BCC rewrites map calls only in the main file; the same code in an included file compiles
and then fails to load. So local includes are put in place here, and ``#line`` marks keep
the compiler's messages at the real file and line.
"""

from __future__ import annotations

import re
from pathlib import Path

from otel_ebpf.errors import KernelError

_INCLUDE = re.compile(r'\s*#\s*include\s*"([^"\n]*)"')
_DIRECTIVE = re.compile(r"\s*#\s*(\w+)\s*(\w*)")
_PROGRAM = re.compile(r"int \w+\(")
_COMMENT_OR_QUOTED = re.compile(r"/\*.*?(?:\*/|$)|//.*|\"(?:\\.|[^\"\\])*\"?|'(?:\\.|[^'\\])*'?")
_TOGETHER = re.compile(r"int \w+_messages?(_first)?\(")
_MAX_BYTES = 4 << 20
_MAX_DEPTH = 64


def flatten(bpf_dir: Path, main: str) -> str:
    """One text of ``bpf_dir/main`` with every ``#include "..."`` in its place.

    A local include is looked for beside the including file, then in ``bpf_dir``. Include
    guards mean what they mean to a compiler; a file with ``#pragma once`` is given a guard.
    ``#include <...>`` stays. Each piece begins with ``#line N "bpf/file"``.

    Raises:
        KernelError: a file is missing or unreadable, files include each other in a
            circle, or the text grows beyond 4 MiB.
    """
    root = bpf_dir.resolve()
    flattener = _Flattener(root)
    flattener.inline(root / main, [], certain=True, asked="")
    return "".join(flattener.out)


def divide(text: str, parts: int) -> list[str]:
    """The text several times, each with a share of its programs, for compilers side by side.

    A program is a function ``int name(...)`` that stands at the beginning of a line and ends
    with a line of ``}``; those of other shares are left blank, so lines keep their numbers.
    What is found otherwise stays in every text. Those of ``_TOGETHER`` are one share's: they call
    the same functions, some with constants, and what the compiler makes of such a function
    depends on all its callers.
    """
    lines = text.split("\n")
    programs = []
    first = -1
    for at, line in enumerate(lines):
        if _PROGRAM.match(line) and not line.rstrip().endswith(";"):
            first = at
        elif line.rstrip() == "}" and first >= 0:
            programs.append(range(first, at + 1))
            first = -1
    # The long ones have names of their own; each kind is dealt out by turns.
    programs.sort(key=lambda where: not lines[where.start].startswith(("int prog_", "int kp_")))
    together = [where for where in programs if _TOGETHER.match(lines[where.start])]
    owners = {where.start: number % parts for number, where in enumerate(programs)}
    owners.update({where.start: owners[together[0].start] for where in together})
    shares = []
    for part in range(parts):
        share = list(lines)
        for where in programs:
            if owners[where.start] != part:
                for at in where:
                    share[at] = ""
        shares.append("\n".join(share))
    return shares


class _Flattener:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.out: list[str] = []
        self.size = 0
        self.settled: set[Path] = set()
        """Guarded files already in place on a path that no condition can switch off."""
        self.guarded: set[Path] = set()

    def inline(self, path: Path, chain: list[Path], *, certain: bool, asked: str) -> None:
        name = self.name(path)
        if path in chain:
            circle = " -> ".join(self.name(p) for p in [*chain[chain.index(path) :], path])
            raise KernelError(f"BPF sources include each other: {circle}", where=asked, mend=_MEND)
        if len(chain) >= _MAX_DEPTH:
            raise KernelError(f"more than {_MAX_DEPTH} nested includes", where=asked, mend=_MEND)
        lines = self.read(path, asked).split("\n")
        if lines[-1] == "":
            lines.pop()
        guard = _guard(lines)
        once = guard == _PRAGMA
        if once:
            guard = "OTEL_EBPF_ONCE_" + re.sub(r"\W", "_", name)
            self.emit(f"#ifndef {guard}\n#define {guard}\n")
        if guard:
            self.guarded.add(path)
        if guard and certain:
            self.settled.add(path)
        self.emit(f'#line 1 "{name}"\n')
        # The guard's own #ifndef is open around the whole file and switches nothing off.
        depth = -1 if guard and not once else 0
        in_comment = False
        for number, line in enumerate(lines, 1):
            code, in_comment = _without_comments(line, in_comment)
            directive = _DIRECTIVE.match(code)
            word = directive.group(1) if directive else ""
            if word in ("if", "ifdef", "ifndef"):
                depth += 1
            elif word == "endif":
                depth -= 1
            include = _INCLUDE.match(code)
            if include:
                where = f"{name}:{number}"
                target = self.resolve(path, include.group(1), where)
                open_now = target in self.guarded and target in (*chain, path)
                if target in self.settled or open_now:
                    self.emit("\n")
                    continue
                self.inline(target, [*chain, path], certain=certain and depth <= 0, asked=where)
                self.emit(f'#line {number + 1} "{name}"\n')
            elif word == "pragma" and directive and directive.group(2) == "once":
                self.emit("\n")
            else:
                self.emit(line + "\n")
        if once:
            self.emit("#endif\n")

    def emit(self, text: str) -> None:
        self.size += len(text)
        if self.size > _MAX_BYTES:
            raise KernelError(
                f"the BPF sources grow beyond {_MAX_BYTES >> 20} MiB when put together",
                where=str(self.root),
                mend=_MEND,
            )
        self.out.append(text)

    def name(self, path: Path) -> str:
        # "bpf/" whatever the folder is called: an installed package keeps it elsewhere.
        return f"bpf/{path.relative_to(self.root).as_posix()}"

    def resolve(self, including: Path, quoted: str, where: str) -> Path:
        for folder in (including.parent, self.root):
            target = (folder / quoted).resolve()
            if target.is_relative_to(self.root) and target.is_file():
                return target
        raise KernelError(
            f'#include "{quoted}" is in no BPF source folder', where=where, mend=_MEND
        )

    def read(self, path: Path, asked: str) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            raise KernelError(
                f"cannot read the BPF source {path.name}: {reason}",
                where=asked or str(path),
                mend=_MEND,
            ) from None


_MEND = "reinstall otel-ebpf; in a checkout, `git status bpf` shows what was changed"
_PRAGMA = "#pragma once"


def _guard(lines: list[str]) -> str:
    """The include guard's macro, ``_PRAGMA``, or "" when the file has neither."""
    directives: list[tuple[str, str]] = []
    in_comment = False
    for line in lines:
        code, in_comment = _without_comments(line, in_comment)
        match = _DIRECTIVE.match(code)
        if match is None:
            if code.strip() and not directives:
                return ""
            continue
        directives.append((match.group(1), match.group(2)))
        if directives[0] == ("pragma", "once"):
            return _PRAGMA
        if len(directives) == 2:
            break
    if len(directives) < 2 or directives[0][0] != "ifndef":
        return ""
    return directives[0][1] if directives[1] == ("define", directives[0][1]) else ""


def _without_comments(line: str, in_comment: bool) -> tuple[str, bool]:
    """``line`` with comments blanked, and whether a block comment goes on after it."""
    if in_comment:
        _, closed, line = line.partition("*/")
        if not closed:
            return "", True
    if "/" not in line:
        return line, False
    goes_on = False

    def kept(found: re.Match[str]) -> str:
        nonlocal goes_on
        text = found[0]
        if text.startswith("/*"):
            goes_on = len(text) < 4 or not text.endswith("*/")
            return " "
        return "" if text.startswith("//") else text

    return _COMMENT_OR_QUOTED.sub(kept, line), goes_on
