"""One family of errors that are meant for a person to read."""

from __future__ import annotations


class OtelEbpfError(Exception):
    """Something a user can mend. ``what`` and ``where`` it is, and the ``mend``.

    The command prints ``str(error)`` and exits with ``exit_code``; no traceback.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.mend = mend

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  mend: {self.mend}" if self.mend else text


class UsageError(OtelEbpfError):
    """A flag, environment variable or argument is wrong. Exit code 2."""

    exit_code = 2


class KernelError(OtelEbpfError):
    """This kernel or user cannot do what was asked. Exit code 3."""

    exit_code = 3


class CaptureError(OtelEbpfError):
    """A capture file cannot be read. Exit code 4."""

    exit_code = 4
