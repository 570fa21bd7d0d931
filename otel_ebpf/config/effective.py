"""What is in force: flags over variables over the file over what holds by itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from otel_ebpf.errors import UsageError

VARIABLE = "OTEL_EBPF_CONFIG"
USUAL = "/etc/otel-ebpf/otel-ebpf.yaml"


@dataclass(frozen=True, slots=True)
class Effective:
    """The environment as everything downstream reads it.

    Attributes:
        env: variables, those of the file beneath the process's own.
        places: variable -> (key, file and line), of those that the file decides.
        path: the file, or "".
    """

    env: Mapping[str, str]
    places: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    path: str = ""

    def explained(self, error: UsageError) -> UsageError:
        """An error that names a variable, naming the file's key if that is where it came from."""
        if error.where not in self.places:
            return error
        key, where = self.places[error.where]
        return UsageError(f"{key}: {error.what}", where=where, mend=error.mend)


def effective(
    flag: str | None, env: Mapping[str, str], exists: Callable[[str], bool] = os.path.exists
) -> Effective:
    """``--config``, else OTEL_EBPF_CONFIG, else the usual file if there is one.

    Raises:
        UsageError: the file cannot be read or says what makes no sense.
    """
    path = flag or env.get(VARIABLE, "").strip()
    if not path and exists(USUAL):
        path = USUAL
    if not path:
        return Effective(env)
    from otel_ebpf.config.document import read  # brings YAML: only where there is a file

    said = read(path)
    # Empty is the same as unset, as the specification of these variables has it.
    beneath = {name: s for name, s in said.items() if not env.get(name, "").strip()}
    merged = {**env, **{name: s.value for name, s in beneath.items()}}
    return Effective(merged, {name: (s.key, s.where) for name, s in beneath.items()}, path)
