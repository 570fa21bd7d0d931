"""Doctor on hosts that lack things: each made for the test in a private mount namespace."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from otel_ebpf.doctor import run_doctor
from otel_ebpf.kernel import sysbpf
from otel_ebpf.kernel.cache import SYSTEM
from otel_ebpf.kernel.config import KernelConfig
from otel_ebpf.kernel.loader import Kernel
from otel_ebpf.kernel.paths import bpf_dir
from otel_ebpf.kernel.source import flatten

ROOT = Path(__file__).resolve().parents[2]
BTF = "/sys/kernel/btf"

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="private mount namespaces need root"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (util-linux)"),
]

REPORT = """
import sys
from otel_ebpf.doctor import run_doctor
sys.exit(run_doctor(sys.stdout, as_json=sys.argv[1] == "json"))
"""

AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


class Report:
    """Doctor's answer as a program and as a person gets it."""

    def __init__(
        self, prepare: str = ":", through: Sequence[str] = (), path: Sequence[Path] = ()
    ) -> None:
        text = self._run("text", prepare, through, path)
        self.text = text.stdout
        done = self._run("json", prepare, through, path)
        self.code = done.returncode
        assert text.returncode == self.code
        self.data: dict[str, Any] = json.loads(done.stdout)
        self.found: dict[str, dict[str, Any]] = {f["name"]: f for f in self.data["findings"]}

    @staticmethod
    def _run(
        form: str, prepare: str, through: Sequence[str], path: Sequence[Path]
    ) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))}
        done = subprocess.run(
            [
                *("unshare", "--mount", "sh", "-c", f'{prepare}; exec "$@"', "sh"),
                *(*through, sys.executable, "-c", REPORT, form),
            ],
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not done.stderr, done.stderr
        assert done.returncode in (0, 3)
        return done

    def check(self) -> None:
        """What holds of every report."""
        missing = [f for f in self.found.values() if f["needed"] and f["state"] == "missing"]
        assert self.data["works"] == (not missing) == (self.code == 0)
        for finding in missing:
            assert finding["means"] and finding["mend"], finding
            assert finding["means"] in self.text and finding["name"] in self.text


@pytest.fixture(scope="module")
def whole() -> Report:
    """This host as it is. The other tests take one thing away from it."""
    report = Report()
    if report.code:
        pytest.skip(f"this host cannot be traced in the first place:\n{report.text}")
    return report


def test_a_host_that_works(whole: Report) -> None:
    whole.check()
    assert whole.found["system call tracepoints"]["state"] == "ok"
    assert "Tracing works here." in whole.text


def test_every_program_is_tried_and_listed() -> None:
    out = io.StringIO()
    assert run_doctor(out, as_json=True, programs=True) == 0
    listed = {program["name"]: program for program in json.loads(out.getvalue())["programs"]}
    assert {"exit_read", "on_fork", "prog_output", "go_conn_serve"} <= set(listed)
    kinds = {listed[name]["kind"] for name in ("exit_read", "on_fork", "go_conn_serve")}
    assert kinds == {"tracepoint", "raw tracepoint", "uprobe"}
    assert not [name for name, program in listed.items() if program["refused"]]
    # A kernel that sees more states than this one must still have room to its million.
    assert max(program["verified"] for program in listed.values()) < 500_000


def test_a_kernel_that_keeps_no_number_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 5.16 the verifier tells only as it loads a program; it is the same number."""
    kernel = Kernel(KernelConfig())
    try:
        program, uprobe = kernel.load_one("prog_output"), kernel.load_one("go_conn_serve")
        told = [sysbpf.program_info(one.fd)[1] for one in (program, uprobe)]
        monkeypatch.setattr(sysbpf, "program_info", lambda _: (1, 0))
        asked = [kernel.verified(one) for one in (program, uprobe)]
    finally:
        kernel.close()
    assert all(asked)
    assert told in (asked, [0, 0])


def test_where_compiled_programs_are_kept(whole: Report, tmp_path: Path) -> None:
    kept = whole.found["compiled programs"]
    assert kept["state"] == "ok" and str(SYSTEM) in kept["means"]
    # As in a container with a file system that is read only.
    report = Report("mount -t tmpfs -o ro tmpfs /var/cache; export HOME=/proc XDG_CACHE_HOME=")
    report.check()
    assert report.code == 0
    assert report.found["compiled programs"]["state"] == "degraded"
    assert "Read-only file system" in report.found["compiled programs"]["means"]
    assert "0700" in report.found["compiled programs"]["mend"]


def test_not_root(whole: Report) -> None:
    report = Report(through=AS_NOBODY)
    report.check()
    assert report.code == 3
    assert "not root" in report.found["privileges"]["means"]
    assert report.found["bpf"]["state"] == "missing"
    assert "sudo" in report.found["bpf"]["mend"]
    assert "replay" in report.text


def test_root_without_its_capabilities(whole: Report) -> None:
    report = Report(through=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))
    report.check()
    assert report.code == 3
    assert "CAP_SYS_ADMIN" in report.found["privileges"]["means"]
    assert "capabilities" in report.found["bpf"]["mend"]


def test_hidden_type_information_comes_from_the_kernel_by_id(whole: Report) -> None:
    for hide in (f"mount --bind /dev/null {BTF}/vmlinux", f"mount -t tmpfs tmpfs {BTF}"):
        report = Report(hide)
        report.check()
        assert report.found["BTF"]["state"] == "degraded"
        assert "hidden" in report.found["BTF"]["means"]
        assert report.code == 0


def test_type_information_that_nobody_gives(whole: Report) -> None:
    report = Report(f"mount -t tmpfs tmpfs {BTF}", through=AS_NOBODY)
    report.check()
    assert report.found["BTF"]["state"] == "missing"
    assert "No such file" in report.found["BTF"]["means"]
    assert "CONFIG_DEBUG_INFO_BTF" in report.found["BTF"]["mend"]


def test_tracefs_and_bpffs_are_mounted_when_missing(whole: Report) -> None:
    # An empty sysfs: its mount points are there, what was mounted on them is not.
    report = Report("umount -R /sys; mount -t sysfs sysfs /sys")
    report.check()
    assert report.code == 0
    for name in ("tracefs", "bpffs"):
        assert "mounted just now" in report.found[name]["means"]
        assert report.found[name]["state"] == "ok"


def test_no_tracefs_and_no_right_to_mount_it(whole: Report) -> None:
    report = Report("umount -R /sys; mount -t sysfs sysfs /sys", through=AS_NOBODY)
    report.check()
    assert report.found["tracefs"]["state"] == "missing"
    assert "mount -t tracefs tracefs /sys/kernel/tracing" in report.found["tracefs"]["mend"]
    assert report.found["bpffs"]["state"] == "degraded"


def test_a_kernel_without_tracefs(whole: Report) -> None:
    report = Report("umount -R /sys; mount -t tmpfs tmpfs /sys")
    report.check()
    assert report.code == 3
    assert "offers no /sys/kernel/tracing" in report.found["tracefs"]["means"]
    assert report.found["system call tracepoints"]["state"] == "missing"


def test_another_pid_namespace_is_told(whole: Report) -> None:
    report = Report(through=("unshare", "--pid", "--fork", "--mount-proc"))
    report.check()
    assert report.found["PID namespace"]["state"] == "degraded"
    assert "--pid=host" in report.found["PID namespace"]["mend"]


def test_root_of_a_user_namespace_is_not_root(whole: Report) -> None:
    report = Report(through=("unshare", "--user", "--map-root-user"))
    report.check()
    assert report.code == 3
    assert "count for nothing" in report.found["user namespace"]["means"]


def test_the_wrong_bcc_before_the_right_one(whole: Report, tmp_path: Path) -> None:
    (tmp_path / "bcc.py").write_text("raise SystemExit('the lattice library ran')\n")
    report = Report(path=[tmp_path])
    report.check()
    assert report.code == 0
    assert report.found["bcc"]["state"] == "degraded"
    assert str(tmp_path / "bcc.py") in report.found["bcc"]["means"]
    assert report.found["bcc"]["mend"] == "pip uninstall bcc"


def test_no_bcc_and_only_the_wrong_one(whole: Report, tmp_path: Path) -> None:
    import bcc

    hide = f"mount -t tmpfs tmpfs {Path(bcc.__file__).parent}"
    report = Report(hide)
    report.check()
    assert report.code == 3
    assert report.found["bcc"]["state"] == "missing"
    (tmp_path / "bcc.py").touch()
    report = Report(hide, path=[tmp_path])
    report.check()
    assert str(tmp_path / "bcc.py") in report.found["bcc"]["means"]
    assert "pip uninstall bcc" in report.found["bcc"]["mend"]


COMPILE = """
import sys
from bcc import BPF
BPF(text=open(sys.argv[1]).read())
"""


def test_a_compile_error_names_the_real_file_and_line(tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "main.c").write_text('#include "ok.h"\n#include "bad.h"\nint end;\n')
    (folder / "ok.h").write_text("#pragma once\nint fine(void *ctx) { return 0; }\n")
    (folder / "bad.h").write_text(
        '#ifndef BAD_H\n#define BAD_H\n#include "ok.h"\n\n'
        "int probe(void *ctx)\n{\n    return no_such_name;\n}\n#endif\n"
    )
    (tmp_path / "flat.c").write_text(flatten(folder, "main.c"))
    env = {**os.environ, "BCC_KERNEL_SOURCE": str(bpf_dir() / "shim")}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(tmp_path / "flat.c")],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert "bpf/bad.h:7:12: error" in done.stderr
