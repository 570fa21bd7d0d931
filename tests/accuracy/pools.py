"""Services whose calls are made by pools of threads, for the harness of :mod:`.loops`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.accuracy.loops import Loop
from tests.accuracy.plan import Kind
from tests.e2e.services import python_command
from tests.javabuild import build_java, java_home, java_home_with_virtual_threads, maven_jars
from tests.nativebuild import build_c, build_rust, cargo_command

HERE = Path(__file__).resolve().parent
TOMCAT = "org.apache.tomcat.embed:tomcat-embed-core:10.1.34"


def python_pool(server: str, *, pause: int = 0, floor: float = 97.0) -> Loop:
    """A threaded Python service that calls from a pool; ``server`` is "threading" (a thread for
    each connection) or "handed" (one thread reads, a pool answers)."""
    label = f"python {server}"
    kinds = [Kind(label, mode, "pooled", floor=floor) for mode in ("submitted", "sequential")]
    # A result that is there before anybody waits for it wakes nobody: who holds it tells.
    parallel = floor if floor > 95 else None  # in few requests the first ones weigh too much
    kinds += [Kind(label, "executor", way, floor=parallel) for way in ("pooled", "fresh")]
    return Loop(label, python_command(HERE / "target.py", server), tuple(kinds), pause)


def java_pool(
    home: Path, client: str, *, virtual: bool = False, pause: int = 0, floor: float | None = None
) -> Loop:
    """A Java service with the JDK at ``home``: a fixed pool, or ``virtual`` threads. It calls with
    HttpURLConnection ("url") or java.net.http.HttpClient ("client")."""
    label = "java virtual threads" if virtual else "java"
    parallel = None if virtual or floor else 35.0  # in few requests the first ones weigh too much
    if virtual:
        own = 99.0 if client == "url" else None
        # By another virtual thread, of which nothing tells who began it.
        kinds = [Kind(label, "sequential", client, floor=own), Kind(label, "submitted", client)]
    else:
        floor = floor or {"url": 97.0, "client": 35.0}[client]
        kinds = [Kind(label, mode, client, floor=floor) for mode in ("sequential", "submitted")]
    kinds.append(Kind(label, "executor", client, floor=parallel))
    if client == "client":
        kinds.append(Kind(label, "async", client, floor=parallel))
    command: list[str | Path] = [home / "bin" / "java", "-Xmx256m", "-cp"]
    command += [build_java(HERE / "java", home), "PoolTarget", *(["virtual"] if virtual else [])]
    return Loop(f"{label} {client}", command, tuple(kinds), pause)


def tomcat_pool(home: Path, *, pause: int = 0, floor: float = 95.0) -> Loop:
    """An embedded Tomcat that calls with HttpURLConnection, itself and from a pool."""
    label = "tomcat"
    kinds = [Kind(label, mode, "url", floor=floor) for mode in ("sequential", "submitted")]
    kinds.append(Kind(label, "executor", "url"))
    libraries = [*maven_jars(TOMCAT), build_java(HERE / "java", home)]
    classes = build_java(HERE / "java_tomcat", home, libraries)
    path = os.pathsep.join(map(str, [classes, *libraries]))
    command: list[str | Path] = [home / "bin" / "java", "-Xmx256m", "-cp", path, "TomcatTarget"]
    return Loop(label, command, tuple(kinds), pause)


def c_pool(*, floor: float | None = 97.0) -> Loop:
    """A C server with pools of pthreads."""
    kinds = [Kind("c", mode, "pooled", floor=floor) for mode in ("sequential", "submitted")]
    kinds.append(Kind("c", "executor", "pooled"))  # the last one to end wakes for all
    return Loop("c", [build_c(HERE / "c_pool" / "pool.c")], tuple(kinds))


def rust_pool(*, pause: int = 0) -> Loop:
    """A Rust server on tokio's runtime of several threads."""
    # By other tasks, of which nothing tells who has spawned them.
    kinds = (Kind("tokio", "sequential", "pooled", floor=99.0), Kind("tokio", "parallel", "pooled"))
    return Loop("tokio", [build_rust(HERE / "rust_pool")], kinds, pause)


def all_pools(pause: int = 0) -> list[Loop]:
    """Every pool that can be had here; virtual threads with a JDK of 24 or later."""
    found = [python_pool(server, pause=pause) for server in ("threading", "handed")]
    home = java_home()
    if home is not None:
        found += [java_pool(home, client, pause=pause) for client in ("url", "client")]
        if shutil.which("mvn"):
            found.append(tomcat_pool(home, pause=pause))
    newer = java_home_with_virtual_threads()
    if newer:
        found += [java_pool(newer, client, virtual=True) for client in ("url", "client")]
    found.append(c_pool())
    if cargo_command():
        found.append(rust_pool(pause=pause))
    return found
