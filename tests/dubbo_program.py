"""Programs of tests/targets/java-dubbo: a real server of Dubbo 2, and its own client."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import threading
from collections import Counter
from functools import cache
from pathlib import Path

from tests.e2e.program import Program
from tests.e2e.services import free_port
from tests.javabuild import build_java, java_home, maven_jars

VERSION = "3.2.16"
SOURCE = Path(__file__).parent / "targets" / "java-dubbo"


class DubboProgram(Program):
    """One part of Main.java. Raises RuntimeError where it cannot be had."""

    def __init__(self, what: str, port: int) -> None:
        home = java_home()
        if home is None:
            raise RuntimeError("no JDK")
        jars = maven_jars(f"org.apache.dubbo:dubbo:{VERSION}", "org.slf4j:slf4j-nop:1.7.36")
        classes = build_java(SOURCE, home, jars)
        self.process = subprocess.Popen(
            [
                home / "bin" / "java", "-Xmx128m", "-XX:TieredStopAtLevel=1",
                "--add-opens=java.base/java.lang=ALL-UNNAMED",
                "--add-opens=java.base/java.math=ALL-UNNAMED",
                "-Djava.net.preferIPv4Stack=true", "-Ddubbo.application.logger=slf4j",
                "-cp", os.pathsep.join(map(str, [classes, *jars])), "shop.Main", what, str(port),
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.pid = self.process.pid


class DubboServer(DubboProgram):
    """Accepts connections when the constructor returns. Attributes: port."""

    def __init__(self, what: str = "serve") -> None:
        """``what``: ``any`` has every method, of which those that begin with ``bad`` fail."""
        self.port = free_port()
        super().__init__(what, self.port)
        if self.line() != "ready":
            self.process.kill()
            self.process.communicate()
            raise RuntimeError("Dubbo's server did not start")

    def counts(self) -> Counter[str]:
        """Calls by method, as it counts them itself."""
        self.go()
        return Counter({name: int(n) for name, n in re.findall(r"(\w+)=(\d+)", self.line())})


class DubboClient(DubboProgram):
    """Asks for any method; several threads may."""

    def __init__(self, port: int) -> None:
        super().__init__("ask", port)
        assert self.line() == "ready"
        self._writing = threading.Lock()
        self._asked: dict[str, queue.SimpleQueue[str]] = {}
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            name, said = line.split()
            self._asked.pop(name).put(said)

    def ask(self, name: str) -> str:
        """``ok`` or ``bad``, as its answer says."""
        said: queue.SimpleQueue[str] = queue.SimpleQueue()
        with self._writing:
            assert self.process.stdin is not None
            self._asked[name] = said
            self.process.stdin.write(name + "\n")
            self.process.stdin.flush()
        return said.get(timeout=60)


@cache
def dubbo_client(port: int) -> DubboClient:
    """The one of this process; it ends with it."""
    return DubboClient(port)
