"""A service's name from its command line, for processes that were not given one.

An interpreter's own name says nothing, so the name is that of the script, module,
application target, jar or main class. Arguments are hostile: only names are taken,
never values, and the answer is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_NAME = 255

_PYTHON_VALUED = frozenset("WX")
_PYTHON_LONG_VALUED = frozenset({"--check-hash-based-pycs"})
_TARGET = re.compile(r"^([A-Za-z_][\w./-]*):[A-Za-z_][\w.]*(?:\(.*\))?$")
_MODULE = re.compile(r"^[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*$")
_TITLE = re.compile(r"^gunicorn: \w+ \[([^\]]{1,255})\]")
_RUNNERS = frozenset(
    {"gunicorn", "uvicorn", "hypercorn", "daphne", "granian", "flask", "celery", "waitress-serve"}
)
_APP_OPTIONS = ("-A", "--app")
_GENERIC_MODULES = frozenset({"wsgi", "asgi", "main", "app", "application", "server", "celery"})
_GUNICORN_FLAGS = frozenset({"--reload", "--preload", "--daemon", "-D", "--no-sendfile"})

_NODE_VALUED = frozenset(
    {"-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions"}
)
_NODE_INLINE = frozenset({"-e", "--eval", "-p", "--print", "-pe", "-i", "--interactive"})
_NODE_FOLDERS = frozenset({"dist", "build", "src", "lib", "bin", "out", "."})
_JAVA_VALUED = frozenset(
    {"-cp", "-classpath", "--class-path", "-p", "--module-path", "--upgrade-module-path"}
    | {"--add-modules", "--add-opens", "--add-exports", "--add-reads", "--limit-modules"}
    | {"--patch-module", "--enable-native-access"}
)
_NAMELESS = ("/memfd:", "/proc/", "/dev/fd/")
"""Programs run from memory or a descriptor: such a path names nothing."""
_SCRIPTED = frozenset({"bash", "sh", "dash", "ash", "ruby", "perl", "php"})
_VERSIONED = re.compile(r"^(ruby|perl|php)[\d.]+$")


def _clean(name: str) -> str:
    return "".join(c for c in name[: 4 * MAX_NAME] if c.isprintable()).strip()[:MAX_NAME]


def _base(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _script(path: str, cwd: str = "") -> str:
    """A script's name without its suffix; ``__main__`` and ``index`` take their folder's."""
    name = _base(path)
    stem, dot, _ = name.rpartition(".")
    stem = stem if dot and stem else name
    if stem not in ("__main__", "index"):
        return stem
    whole = path if path.startswith("/") else f"{cwd}/{path}"
    folders = [f for f in whole.split("/")[:-1] if f and f not in _NODE_FOLDERS]
    return folders[-1] if folders else stem


def _target(target: str) -> str:
    """``shop.wsgi:app`` and ``shop.main`` are the application ``shop``."""
    module = _base(target.partition(":")[0])
    head, _, last = module.rpartition(".")
    return head if head and last in _GENERIC_MODULES else module


def _runner(name: str, arguments: Sequence[str]) -> str:
    """The application that a Python server was told to run, else the server's own name."""
    for index, argument in enumerate(arguments):
        option, _, value = argument.partition("=")
        if name in ("flask", "celery") and option in _APP_OPTIONS:
            value = value or (arguments[index + 1] if index + 1 < len(arguments) else "")
            return _target(value.removesuffix(".py")) or name
        if _TARGET.match(argument):
            return _target(argument)
    if name == "gunicorn" and arguments and _MODULE.match(arguments[-1]):
        before = arguments[-2] if len(arguments) > 1 else ""
        if not before.startswith("-") or "=" in before or before in _GUNICORN_FLAGS:
            return _target(arguments[-1])
    return name


def _python(arguments: Sequence[str], cwd: str) -> str:
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        index += 1
        if argument in _PYTHON_LONG_VALUED:
            index += 1
        elif argument.startswith("--"):
            continue
        elif argument.startswith("-") and len(argument) > 1:
            for place, letter in enumerate(argument[1:], 1):
                rest = argument[place + 1 :]
                if letter == "c":
                    return ""
                if letter == "m":
                    module = rest or (arguments[index] if index < len(arguments) else "")
                    after = arguments[index if rest else index + 1 :]
                    return _runner(module, after) if module in _RUNNERS else module
                if letter in _PYTHON_VALUED:
                    index += not rest
                    break
        elif argument == "-":
            return ""
        else:
            name = _script(argument, cwd)
            return _runner(name, arguments[index:]) if name in _RUNNERS else name
    return ""


def _node(arguments: Sequence[str], cwd: str) -> str:
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        index += 1
        if argument in _NODE_INLINE:
            return ""
        if argument in _NODE_VALUED:
            index += 1
        elif not argument.startswith("-"):
            return _script(argument, cwd)
    return ""


def _java(arguments: Sequence[str]) -> str:
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        index += 1
        value = arguments[index] if index < len(arguments) else ""
        if argument == "-jar":
            return _base(value).removesuffix(".jar")
        if argument in ("-m", "--module"):
            return value.rpartition("/")[2]
        if argument in _JAVA_VALUED:
            index += 1
        elif not argument.startswith(("-", "@")):
            return argument.removesuffix(".java").rpartition("/")[2]
    return ""


def _other(interpreter: str, arguments: Sequence[str]) -> str:
    plain = _VERSIONED.sub(r"\1", interpreter)
    if plain not in _SCRIPTED:
        return ""
    for argument in arguments:
        if not argument.startswith("-"):
            return _script(argument)
        # -c, -e and -r carry a program, not a file; -x is an option of the shell.
        if not argument.startswith("--") and argument[-1:] in ("c", "e", "r"):
            return ""
    return ""


def name_from_command(
    argv: Sequence[str], exe: str, language: str, *, cwd: str = "", comm: str = ""
) -> str:
    """The service's name: the program run, without arguments and suffix.

    ``argv`` is the command line, ``exe`` the executable's path, ``language`` as in
    ``Process``. Falls back to the executable's base name, then ``comm``, then
    ``unknown_service``.
    """
    arguments, name = argv[1:], ""
    title = _TITLE.match(argv[0]) if argv else None
    if title is not None:
        name = _target(title.group(1))
    elif language == "python":
        name = _python(arguments, cwd)
    elif language == "nodejs":
        name = _node(arguments, cwd)
    elif language == "java":
        name = _java(arguments)
    elif not language:
        name = _other(_base(exe), arguments)
    program = "" if exe.startswith(_NAMELESS) else _base(exe)
    for candidate in (name, program, comm, _base(argv[0]) if argv else ""):
        if clean := _clean(candidate):
            return clean
    return "unknown_service"
