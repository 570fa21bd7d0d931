"""A real Kafka broker for tests: one node that is its own controller (KRaft), a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.javabuild import java_home, maven_jars

VERSION = "3.9.1"
CLUSTER = "4L6g3nShT-eMCtK--X86sw"
USER, PASSWORD = "shop", "s3cr3t-pa55word"
_METRICS = [f"-Dcom.sun.management.jmxremote.{what}=false" for what in ("authenticate", "ssl")]
_LOGIN = "org.apache.kafka.common.security"


def kafka_jars(version: str = VERSION) -> list[Path]:
    """The broker's and its Java client's. Raises RuntimeError where they cannot be had."""
    return maven_jars(f"org.apache.kafka:kafka_2.13:{version}", "org.slf4j:slf4j-nop:1.7.36")


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class KafkaServer:
    """Accepts connections when the constructor returns.

    Attributes:
        port: on 127.0.0.1; login: the same broker's, where SASL PLAIN and SCRAM are asked for;
        jmx: where its metrics are; pid: of the broker.
    """

    def __init__(self, version: str = VERSION, settings: Mapping[str, str] | None = None) -> None:
        home = java_home()
        if home is None:
            raise RuntimeError("no JDK")
        classes = os.pathsep.join(map(str, kafka_jars(version)))
        self.folder = Path(tempfile.mkdtemp(prefix="kafka-"))
        self.port, self.login, controller, self.jmx = _free_ports(4)
        plain = f'{_LOGIN}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        said = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},LOGIN://127.0.0.1:{self.login},"
            f"CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port},"
            f"LOGIN://127.0.0.1:{self.login}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "LOGIN:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
            "listener.name.login.plain.sasl.jaas.config": plain,
            "listener.name.login.scram-sha-256.sasl.jaas.config": (
                f"{_LOGIN}.scram.ScramLoginModule required;"
            ),
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.folder / "data"),
            "num.partitions": "2",
            "auto.create.topics.enable": "true",
            "offsets.topic.num.partitions": "1",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "num.network.threads": "2",
            "num.io.threads": "2",
            "log.cleaner.enable": "false",
            **(settings or {}),
        }
        properties = self.folder / "server.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in said.items()))
        java = [str(home / "bin" / "java"), "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", classes]
        self._process: subprocess.Popen[bytes] | None = None
        try:
            made = subprocess.run(
                [*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(properties),
                 "--add-scram", f"SCRAM-SHA-256=[name={USER},password={PASSWORD}]"],
                capture_output=True, text=True, cwd=self.folder,
            )  # fmt: skip
            if made.returncode:
                raise RuntimeError(f"kafka format: {made.stdout[-1000:]}{made.stderr[-1000:]}")
            with open(self.folder / "log", "wb") as log:
                self._process = subprocess.Popen(
                    [*java[:-2], *_METRICS, f"-Dcom.sun.management.jmxremote.port={self.jmx}",
                     *java[-2:], "kafka.Kafka", str(properties)],
                    cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
            self.pid = self._process.pid
            self._await()
        except BaseException:
            self.close()
            raise

    def _await(self) -> None:
        deadline = time.monotonic() + 120
        assert self._process is not None
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    log = (self.folder / "log").read_text()[-2000:]
                    raise RuntimeError(f"the broker did not start: {log}") from None
                time.sleep(0.1)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> KafkaServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
