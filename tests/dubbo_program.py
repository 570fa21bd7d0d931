"""Programs of tests/targets/java-dubbo: a real server of Dubbo 2, and its own client."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
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
                "-Djava.net.preferIPv4Stack=true", "-Ddubbo.application.logger=slf4j",
                "-cp", os.pathsep.join(map(str, [classes, *jars])), "shop.Main", what, str(port),
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.pid = self.process.pid


class DubboServer(DubboProgram):
    """Accepts connections when the constructor returns. Attributes: port."""

    def __init__(self) -> None:
        self.port = free_port()
        super().__init__("serve", self.port)
        if self.line() != "ready":
            self.process.kill()
            self.process.communicate()
            raise RuntimeError("Dubbo's server did not start")

    def counts(self) -> Counter[str]:
        """Calls by method, as it counts them itself."""
        self.go()
        return Counter({name: int(n) for name, n in re.findall(r"(\w+)=(\d+)", self.line())})
