"""The Go clients of message brokers as child processes."""

from __future__ import annotations

import subprocess

from tests.e2e.program import Program
from tests.e2e.services import TESTS
from tests.gobuild import build_go

MODULES = {
    "github.com/eclipse/paho.mqtt.golang": "v1.4.3",
    "github.com/nats-io/nats.go": "v1.31.0",
    "github.com/rabbitmq/amqp091-go": "v1.9.0",
}


class GoClient(Program):
    """One part of tests/targets/go/queues; it begins its work when told to ``go``."""

    def __init__(self, what: str, url: str, number: int) -> None:
        program = build_go(TESTS / "targets/go/queues", requires=MODULES, language="1.21")
        self.process = subprocess.Popen(
            ["queues", what, url, str(number)],
            executable=program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid
