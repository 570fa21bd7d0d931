"""The command ``otel-ebpf``.

Exit status: 0 done, 1 another error, 2 a wrong flag or variable, 3 this kernel or user
cannot do it, 4 a capture cannot be read or written.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from otel_ebpf import __version__
from otel_ebpf.config.effective import Effective, effective
from otel_ebpf.discovery.ways import PASSIVE
from otel_ebpf.errors import KernelError, OtelEbpfError, UsageError
from otel_ebpf.selection import (
    OUTPUTS,
    chosen_capture,
    chosen_globs,
    chosen_go_http2,
    chosen_identity,
    chosen_log_level,
    chosen_openssl,
    chosen_output,
    chosen_pids,
    chosen_ports,
    chosen_protocols,
    parse_pid,
)

_PROGRAM = "-- CMD ARGS at the end starts a program and traces it"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, where=self.prog, mend=f"see `{self.prog} --help`")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", default=None, metavar="FILE", help="settings; see `otel-ebpf config --help`"
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", choices=OUTPUTS, default=None, help="where spans go")
    parser.add_argument(
        "--db-statement",
        choices=("sanitized", "off"),
        default=None,
        help="texts of queries: without their literals (the default), or none at all",
    )
    parser.add_argument(
        "--internal-calls",
        action="store_const",
        const="on",
        default=None,
        help="spans of what client libraries do on their own account, too: pings, logins",
    )


def _add_selection(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    choose = parser.add_argument_group("what to trace (everything when nothing is chosen)")
    choose.add_argument(
        "--pid", action="append", default=[], metavar="N", help="a process and its children"
    )
    choose.add_argument(
        "--exe", action="append", default=[], metavar="GLOB", help="programs by name or path"
    )
    choose.add_argument(
        "--port",
        action="append",
        default=[],
        metavar="N|A-B",
        help="services that listen on these ports",
    )
    choose.add_argument(
        "--protocol",
        action="append",
        default=[],
        metavar="NAME",
        help="only these protocols",
    )
    choose.add_argument(
        "--openssl",
        default=None,
        metavar="on|off",
        help="read what goes through OpenSSL (default on; two uprobe hits a call of it)",
    )
    choose.add_argument(
        "--go-identity",
        default=None,
        metavar="WAY",
        help="how goroutines are told apart: auto (default), tls, uprobe or both",
    )
    choose.add_argument(
        "--go-http2",
        default=None,
        metavar="WAY",
        help="HTTP/2 headers of Go programs: passive (default, from the bytes), uprobe or both",
    )
    choose.add_argument(
        "--capture-bytes",
        type=int,
        default=None,
        metavar="N",
        help="payload bytes kept of each message (64 to 4096; default 1024)",
    )


def _env(arguments: argparse.Namespace, settings: Effective) -> Mapping[str, str]:
    """What is in force; flags that stand for a variable win over it."""
    env = dict(settings.env)
    if getattr(arguments, "db_statement", None):
        env["OTEL_EBPF_DB_STATEMENT"] = arguments.db_statement
    if getattr(arguments, "internal_calls", False):
        env["OTEL_EBPF_INTERNAL_CALLS"] = "on"
    return env


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="otel-ebpf", description="OpenTelemetry traces of programs that nobody changed."
    )
    parser.add_argument("--version", action="version", version=f"otel-ebpf {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="trace and export", epilog=_PROGRAM)
    _add_selection(run)
    _add_output(run)
    record = commands.add_parser("record", help="keep the raw records in a file", epilog=_PROGRAM)
    record.add_argument("file", metavar="FILE", help="capture to write (.gz compresses)")
    record.add_argument(
        "--keep-secrets", action="store_true", help="passwords and tokens too, as they were sent"
    )
    _add_selection(record)
    replay = commands.add_parser("replay", help="spans of a capture; needs no privileges")
    replay.add_argument("file", metavar="FILE")
    _add_output(replay)
    _add_config(replay)
    doctor = commands.add_parser("doctor", help="what this host can do, and what mends it")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.add_argument(
        "--programs", action="store_true", help="load each BPF program here, and list them"
    )
    doctor.add_argument(
        "--pid", default=None, metavar="N", help="what is known of a process, and its cost"
    )
    doctor.add_argument(
        "--go-http2", default=None, metavar="WAY", help="with --pid: as `run` would have it"
    )
    status = commands.add_parser("status", help="what a running agent sees, and how surely")
    status.add_argument("--json", action="store_true", help="for programs")
    _add_config(status)
    config = commands.add_parser("config", help="check the settings, and show what is in force")
    config.add_argument("--print", action="store_true", help="each setting and who says it")
    _add_selection(config)
    _add_output(config)
    return parser


def _agent(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    # Loaded here: `doctor` and `replay` must work where these cannot.
    from otel_ebpf.footprint import prefer
    from otel_ebpf.kernel.config import CAPTURE_DEFAULT, KernelConfig
    from otel_ebpf.kernel.preparation import Preparation

    program: list[str] = arguments.program
    pids = chosen_pids(arguments.pid, env)
    globs = chosen_globs(arguments.exe, env)
    ports = chosen_ports(arguments.port, env)
    go_http2 = chosen_go_http2(arguments.go_http2, env)
    for pid in pids:
        if not os.path.isdir(f"/proc/{pid}"):
            raise UsageError(
                f"there is no process {pid}",
                where="--pid" if arguments.pid else "OTEL_EBPF_TARGET_PID",
                mend="see `ps -e` for those that run",
            )
    kernel = KernelConfig(
        capture=chosen_capture(arguments.capture_bytes, env, CAPTURE_DEFAULT),
        filter_processes=bool(pids or globs or program),
        ports=ports,
        protocols=chosen_protocols(arguments.protocol, env),
        header_blocks=go_http2 != PASSIVE,
    )
    if os.geteuid() != 0:
        from otel_ebpf.kernel.features import blocking, survey

        problem = blocking(survey())
        if problem is not None:
            raise problem
    prefer()  # before the first thread: they inherit it
    # The kernel verifies programs while this process loads its other modules.
    with contextlib.closing(Preparation(kernel)) as preparation:
        from otel_ebpf.agent import Agent
        from otel_ebpf.agent_config import AgentConfig

        config = AgentConfig(
            kernel=kernel,
            preparation=preparation,
            pids=pids,
            globs=globs,
            output=chosen_output(getattr(arguments, "output", None), env),
            record=arguments.file if arguments.command == "record" else "",
            keep_secrets=getattr(arguments, "keep_secrets", False),
            command=program,
            go_identity=chosen_identity(arguments.go_identity, env),
            go_http2=go_http2,
            openssl=chosen_openssl(arguments.openssl, env),
        )
        return Agent(config, env, sys.stdout, sys.stderr).run()


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    """What was asked; ``program`` holds what follows ``--``, which no flag may reach into."""
    words, program = list(argv), None
    if "--" in words:
        at = words.index("--")
        words, program = words[:at], words[at + 1 :]
    arguments = _parser().parse_args(words)
    if program is not None and arguments.command not in ("run", "record"):
        raise UsageError(
            f"{arguments.command} starts no program", where="--", mend="leave it out, or use `run`"
        )
    if program == []:
        raise UsageError("no program behind --", where="--", mend="name the program to start")
    arguments.program = program or []
    return arguments


def _dispatch(arguments: argparse.Namespace) -> int:
    if arguments.command == "doctor":
        return _doctor(arguments)
    settings = effective(arguments.config, os.environ)
    try:
        return _with(settings, arguments)
    except UsageError as error:
        raise settings.explained(error) from None


def _with(settings: Effective, arguments: argparse.Namespace) -> int:
    env = _env(arguments, settings)
    logging.getLogger().setLevel(chosen_log_level(env))
    if arguments.command == "config":
        return _config(arguments, settings)
    if arguments.command == "status":
        from otel_ebpf.status import run_status

        return run_status(sys.stdout, env, as_json=arguments.json)
    if arguments.command == "replay":
        from otel_ebpf.replaying import replay

        output = chosen_output(arguments.output, env)
        return replay(arguments.file, output, env, sys.stdout, sys.stderr)
    return _agent(arguments, env)


def _doctor(arguments: argparse.Namespace) -> int:
    if arguments.pid is not None:
        from otel_ebpf.doctor_process import run_process_doctor

        return run_process_doctor(
            parse_pid(arguments.pid),
            sys.stdout,
            as_json=arguments.json,
            identity=chosen_identity(None, os.environ),
            go_http2=chosen_go_http2(arguments.go_http2, os.environ),
        )
    from otel_ebpf.doctor import run_doctor

    return run_doctor(sys.stdout, as_json=arguments.json, programs=arguments.programs)


def _config(arguments: argparse.Namespace, settings: Effective) -> int:
    from otel_ebpf.config.printing import check, print_settings
    from otel_ebpf.kernel.config import CAPTURE_DEFAULT, KernelConfig

    env = settings.env
    given = {
        "--pid": ",".join(str(pid) for pid in chosen_pids(arguments.pid, env)),
        "--exe": ",".join(chosen_globs(arguments.exe, env)),
        "--port": ",".join(arguments.port) if chosen_ports(arguments.port, env) else "",
        "--protocol": ",".join(arguments.protocol),
        "--go-identity": chosen_identity(arguments.go_identity, env),
        "--go-http2": chosen_go_http2(arguments.go_http2, env),
        "--openssl": "on" if chosen_openssl(arguments.openssl, env) else "off",
        "--output": chosen_output(arguments.output, env),
        "--db-statement": arguments.db_statement or "",
        "--internal-calls": arguments.internal_calls or "",
        "--capture-bytes": str(chosen_capture(arguments.capture_bytes, env, CAPTURE_DEFAULT)),
    }
    protocols = chosen_protocols(arguments.protocol, env)
    KernelConfig(capture=int(given["--capture-bytes"]), protocols=protocols)
    check(env)
    if arguments.print:
        flags = {
            flag: value
            for flag, value in given.items()
            if getattr(arguments, flag[2:].replace("-", "_")) not in (None, [])
        }
        print_settings(sys.stdout, settings, flags)
    else:
        print(f"The settings make sense ({settings.path or 'no file'}).")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status. Errors are printed, never raised."""
    try:
        logging.basicConfig(
            level=chosen_log_level(os.environ),
            format="otel-ebpf: %(message)s",
        )
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        return _dispatch(_arguments(sys.argv[1:] if argv is None else argv))
    except OtelEbpfError as error:
        print(f"otel-ebpf: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return 130
    except PermissionError as error:
        problem = KernelError(
            f"not permitted: {error}", mend="run as root; `otel-ebpf doctor` tells what is missing"
        )
        print(f"otel-ebpf: {problem}", file=sys.stderr)
        return problem.exit_code


if __name__ == "__main__":
    sys.exit(main())
