"""BCC's Python binding: the distribution's, wherever this interpreter looks for modules.

The binding comes with libbcc (``python3-bpfcc`` on Debian) and is no PyPI package; the
PyPI project called "bcc" computes crystal lattices. A virtual environment without system
site-packages sees neither, so the distribution's folders are searched too. A module is
recognised by its files before any of its code runs.
"""

from __future__ import annotations

import contextlib
import glob
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from otel_ebpf.errors import KernelError

_DISTRIBUTION = (
    "/usr/lib/python3/dist-packages",  # Debian, Ubuntu
    "/usr/lib/python3.*/site-packages",  # Fedora, RHEL, Arch, Alpine
    "/usr/lib64/python3.*/site-packages",  # SUSE
    "/usr/local/lib/python3*/dist-packages",  # built from source
    "/usr/local/lib/python3.*/site-packages",
)

_INSTALL = {
    "debian": "apt-get install python3-bpfcc",
    "ubuntu": "apt-get install python3-bpfcc",
    "fedora": "dnf install python3-bcc",
    "rhel": "dnf install python3-bcc",
    "arch": "pacman -S python-bcc",
    "suse": "zypper install python3-bcc",
    "opensuse": "zypper install python3-bcc",
    "alpine": "apk add py3-bcc",
}
_ELSEWHERE = "install your distribution's BCC with its Python binding (not PyPI's \"bcc\")"


@dataclass(frozen=True, slots=True)
class Binding:
    """Where the binding is.

    Attributes:
        package: folder of the right ``bcc``, or None.
        importable: a plain ``import bcc`` would give it.
        impostor: file of a module called ``bcc`` that is another program, or "".
    """

    package: Path | None
    importable: bool
    impostor: str


def install_command(os_release: str = "") -> str:
    """The command that installs the binding here; ``os_release`` replaces the file's text."""
    text = os_release
    if not text:
        for name in ("/etc/os-release", "/usr/lib/os-release"):
            with contextlib.suppress(OSError):
                text = Path(name).read_text(encoding="utf-8", errors="replace")
                break
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    words = f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".replace('"', "").split()
    return next((_INSTALL[word] for word in words if word in _INSTALL), _ELSEWHERE)


def locate() -> Binding:
    """Find the binding without running any of it."""
    impostor = ""
    loaded = sys.modules.get("bcc")
    origin = getattr(loaded, "__file__", None) if loaded is not None else _spec_origin()
    if origin is not None:
        package = Path(origin).parent
        if _is_binding(package):
            return Binding(package, True, "")
        impostor = str(origin)
    for pattern in _DISTRIBUTION:
        for folder in sorted(glob.glob(pattern), reverse=True):
            package = Path(folder) / "bcc"
            if _is_binding(package):
                return Binding(package, False, impostor)
    return Binding(None, False, impostor)


def import_bcc() -> ModuleType:
    """The binding as a module, ready for use as ``bcc.BPF``.

    Raises:
        KernelError: it is not installed, another program has its name, or libbcc is
            missing or does not fit; with the command that mends it.
    """
    found = locate()
    if found.package is None:
        if found.impostor:
            raise KernelError(
                "this is another program called bcc, not the BPF Compiler Collection",
                where=found.impostor,
                mend=f"{sys.executable} -m pip uninstall bcc; {install_command()}",
            )
        raise KernelError("BCC's Python binding is not installed", mend=install_command())
    loaded = sys.modules.get("bcc")
    if found.importable and loaded is not None and hasattr(loaded, "BPF"):
        return loaded
    try:
        module = importlib.import_module("bcc") if found.importable else _load(found.package)
    except Exception as error:  # whatever a binding that does not fit its library raises
        raise KernelError(
            f"BCC's Python binding does not load: {type(error).__name__}: {error}",
            where=str(found.package),
            mend=f"{install_command()} (it brings the libbcc that fits)",
        ) from None
    if not hasattr(module, "BPF"):
        raise KernelError(
            "BCC's Python binding has no BPF class",
            where=str(found.package),
            mend=install_command(),
        )
    return module


def _spec_origin() -> str | None:
    try:
        spec = importlib.util.find_spec("bcc")
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.origin is not None:
        return spec.origin
    # A folder without __init__.py: only its name is like the binding's.
    places = list(spec.submodule_search_locations or ())
    return f"{places[0]}/" if places else None


def _is_binding(package: Path) -> bool:
    return (package / "libbcc.py").is_file() and (package / "__init__.py").is_file()


def _load(package: Path) -> ModuleType:
    """Import the binding from a folder that is not on ``sys.path``.

    The folder itself is not put on the path: everything else in it would come along.
    """
    kept = {name: module for name, module in sys.modules.items() if _is_bcc(name)}
    for name in kept:
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location(
        "bcc", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no module in {package}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        for name in [name for name in sys.modules if _is_bcc(name)]:
            del sys.modules[name]
        sys.modules.update(kept)
        raise
    return module


def _is_bcc(name: str) -> bool:
    return name == "bcc" or name.startswith("bcc.")
