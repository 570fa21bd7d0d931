"""Where the BPF sources are."""

from __future__ import annotations

from pathlib import Path

from otel_ebpf.errors import OtelEbpfError

_PACKAGE = Path(__file__).resolve().parent.parent


def bpf_dir() -> Path:
    """The folder that holds the BPF C sources (``*.c``, ``*.h``, ``shim/``).

    In a wheel that is ``otel_ebpf/_bpf``, in a checkout (and so in an editable
    install) ``bpf/`` at its top.

    Raises:
        OtelEbpfError: the installation has no BPF sources.
    """
    packaged = _PACKAGE / "_bpf"
    if packaged.is_dir():
        return packaged
    checkout = _PACKAGE.parent
    # site-packages may hold somebody else's "bpf": only a checkout has the project file beside it.
    if (checkout / "bpf").is_dir() and (checkout / "pyproject.toml").is_file():
        return checkout / "bpf"
    raise OtelEbpfError(
        "the BPF sources are missing from this installation",
        where=str(packaged),
        mend="reinstall with `pip install --force-reinstall --no-deps` from a complete checkout",
    )
