"""Compiled programs kept between starts.

What is read here is loaded into the kernel with root's rights, so only a folder and
files that nobody else could have written count: owned by this user, closed to others,
and opened in a way that no link can lead astray. An entry's name is a digest of all
that its content depends on; what it cannot know beforehand, the compiler's libraries,
stands within it and is compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from otel_ebpf.kernel.compiled import Compiled

_log = logging.getLogger(__name__)

SYSTEM = Path("/var/cache/otel-ebpf")
KEPT = 16
"""Entries that stay: a few versions and settings. The oldest go."""
_SUFFIX = ".programs"
_UNFINISHED = ".new"
_MAX_BYTES = 64 << 20
_ABANDONED = 3600
"""Seconds after which a file that was never finished goes."""


def cache_key(parts: Iterable[bytes]) -> str:
    """A name for what these parts give, in their order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:40]


def folders(env: Mapping[str, str], uid: int) -> list[Path]:
    """Where entries may be, best first: what systemd gave, root's place, the user's own."""
    found = []
    given = env.get("CACHE_DIRECTORY", "").split(":")[0]
    if given.startswith("/"):
        found.append(Path(given))
    if uid == 0:
        found.append(SYSTEM)
    home = env.get("XDG_CACHE_HOME", "")
    if not home.startswith("/"):
        home = os.path.join(env.get("HOME", ""), ".cache")
    if home.startswith("/"):
        found.append(Path(home, "otel-ebpf", "programs"))
    return found


class ProgramCache:
    """One folder of entries. Nothing here raises: a cache that does not work is none.

    Attributes:
        folder: its path.
    """

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.folder = folder
        self._descriptor = descriptor

    @classmethod
    def open(cls, places: Iterable[Path]) -> tuple[ProgramCache | None, str]:
        """The first place that can be used, made when it is not there; and why the ones
        before it, or all, cannot."""
        reasons = []
        for place in places:
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    place.mkdir(mode=0o700)
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(place, flags)
            except OSError as error:
                reasons.append(f"{place}: {error.strerror or error}")
                continue
            wrong = _not_ours(os.fstat(descriptor), 0o077)
            if not wrong and not os.access(f"/proc/self/fd/{descriptor}", os.W_OK):
                wrong = "cannot be written"
            if not wrong:
                return cls(place, descriptor), "; ".join(reasons)
            os.close(descriptor)
            reasons.append(f"{place}: {wrong}")
        return None, "; ".join(reasons)

    def load(self, key: str) -> Compiled | None:
        """The entry of this key; None when there is none that can be used."""
        name = key + _SUFFIX
        try:
            compiled = self._read(name)
        except FileNotFoundError:
            _log.debug("no compiled programs are kept in %s for this start", self.folder)
            return None
        except (OSError, ValueError) as error:
            _log.debug("%s/%s is made anew: %s", self.folder, name, error)
            return None
        changed = stale(compiled)
        if changed:
            _log.debug("%s/%s is made anew: %s has changed", self.folder, name, changed)
            return None
        _log.debug("compiled programs come from %s/%s", self.folder, name)
        return compiled

    def store(self, key: str, compiled: Compiled) -> None:
        """Keep an entry, in one step: whoever reads sees all of it or what was before."""
        name = key + _SUFFIX
        unfinished = f"{key}.{secrets.token_hex(8)}{_UNFINISHED}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(unfinished, flags, 0o600, dir_fd=self._descriptor)
            try:
                with open(file, "wb") as out:
                    out.write(compiled.encode())
                self._rename(unfinished, name)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(unfinished, dir_fd=self._descriptor)
                raise
            self._tidy()
        except OSError as error:
            _log.debug("the compiled programs are not kept: %s", error)

    def entries(self) -> list[str]:
        """Names of the entries, newest first."""
        found = []
        for entry in self._listing():
            if entry.name.endswith(_SUFFIX):
                with contextlib.suppress(OSError):
                    found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
        return [name for _, name in sorted(found, reverse=True)]

    def close(self) -> None:
        """Lets go of the folder."""
        os.close(self._descriptor)

    def _read(self, name: str) -> Compiled:
        # Non-blocking: a pipe of this name must not hold the start.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(name, flags, dir_fd=self._descriptor)
        with open(file, "rb") as entry:
            status = os.fstat(file)
            wrong = _not_ours(status, 0o022)
            if not stat.S_ISREG(status.st_mode):
                wrong = "is no file"
            if status.st_size > _MAX_BYTES:
                wrong = "is too large"
            if wrong:
                raise ValueError(f"it {wrong}")
            return Compiled.decode(entry.read(_MAX_BYTES))

    def _rename(self, old: str, new: str) -> None:
        os.replace(old, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def _tidy(self) -> None:
        gone = self.entries()[KEPT:]
        before = time.time() - _ABANDONED
        for entry in self._listing():
            if entry.name.endswith(_UNFINISHED):
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < before:
                        gone.append(entry.name)
        for name in gone:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._descriptor)

    def _listing(self) -> list[os.DirEntry[str]]:
        with contextlib.suppress(OSError), os.scandir(self._descriptor) as entries:
            return list(entries)
        return []


def stale(compiled: Compiled) -> str:
    """The compiler's file that is not as it was; "" when all are."""
    for path, size, changed in compiled.made_by:
        try:
            status = os.stat(path)
        except OSError:
            return path
        if (status.st_size, status.st_mtime_ns) != (size, changed):
            return path
    return ""


def _not_ours(status: os.stat_result, forbidden: int) -> str:
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}, not {os.geteuid()}"
    if status.st_mode & forbidden:
        return f"is open to others (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""
