"""Finding BCC's binding: the right one, the wrong one, none, and a broken one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel_ebpf.kernel.binding import install_command

ROOT = Path(__file__).resolve().parents[3]

IMPORT = """
import sys
from otel_ebpf.errors import KernelError
from otel_ebpf.kernel import binding
binding._DISTRIBUTION = tuple(sys.argv[1:])
try:
    print(binding.import_bcc().__file__)
except KernelError as error:
    print("KernelError", error)
"""


def run(*distribution: Path, path: Path | None = None) -> str:
    """What an interpreter without site-packages says, with ``path`` on PYTHONPATH."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *([path] if path else [])]))}
    done = subprocess.run(
        [sys.executable, "-S", "-c", IMPORT, *map(str, distribution)],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def package(folder: Path, init: str, **files: str) -> Path:
    (folder / "bcc").mkdir(parents=True)
    (folder / "bcc" / "__init__.py").write_text(init)
    for name, text in files.items():
        (folder / "bcc" / f"{name}.py").write_text(text)
    return folder


@pytest.fixture
def right(tmp_path: Path) -> Path:
    init = "from .libbcc import lib\nfrom . import table\nclass BPF: pass\n"
    return package(tmp_path / "right", init, libbcc="lib = 1\n", table="")


def test_the_distributions_binding_is_found_where_this_interpreter_does_not_look(
    right: Path,
) -> None:
    assert run(right).strip() == str(right / "bcc" / "__init__.py")


def test_another_program_called_bcc_does_not_run_and_does_not_hide_the_binding(
    right: Path, tmp_path: Path
) -> None:
    wrong = package(tmp_path / "wrong", "raise SystemExit('the lattice library ran')\n")
    assert run(right, path=wrong).strip() == str(right / "bcc" / "__init__.py")


def test_only_another_program_called_bcc(tmp_path: Path) -> None:
    wrong = package(tmp_path / "wrong", "print('ran')\n")
    said = run(path=wrong)
    assert said.startswith(f"KernelError {wrong / 'bcc' / '__init__.py'}: this is another program")
    assert "pip uninstall bcc" in said and "ran" not in said.split()


def test_a_folder_called_bcc_is_no_binding(tmp_path: Path) -> None:
    (tmp_path / "bcc").mkdir()
    assert "another program called bcc" in run(path=tmp_path)


def test_no_bcc_at_all() -> None:
    said = run()
    assert "binding is not installed" in said and "mend: " in said


@pytest.mark.parametrize(
    ("init", "says"),
    [
        ("raise OSError('libbcc.so.0: cannot open shared object file')\n", "libbcc.so.0"),
        ("import not_there_at_all\n", "ModuleNotFoundError"),
        ("syntax error\n", "SyntaxError"),
        ("", "no BPF class"),
    ],
)
def test_a_binding_that_does_not_load_says_why(tmp_path: Path, init: str, says: str) -> None:
    broken = package(tmp_path / "broken", init, libbcc="")
    for said in (run(broken), run(path=broken)):
        assert said.startswith("KernelError") and says in said and "mend: " in said


@pytest.mark.parametrize(
    ("os_release", "command"),
    [
        ('ID=debian\nVERSION_ID="12"\n', "apt-get install python3-bpfcc"),
        ("ID=linuxmint\nID_LIKE=ubuntu\n", "apt-get install python3-bpfcc"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf install python3-bcc"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "zypper install python3-bcc"),
    ],
)
def test_the_install_command_is_the_distributions(os_release: str, command: str) -> None:
    assert install_command(os_release) == command


def test_an_unknown_distribution_is_told_what_not_to_install() -> None:
    assert "not PyPI's" in install_command("ID=plan9\n")
