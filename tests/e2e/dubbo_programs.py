"""A client of Dubbo in Python, for test_dubbo.py: threads that share a connection.

Run by an interpreter that has dubbo-ssl-python. It waits for a line before it begins.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import Any

from dubbo_ssl.client import DubboClient
from dubbo_ssl.common.exceptions import DubboResponseException


def main() -> None:
    port, number = map(int, sys.argv[1:])
    client: Any = DubboClient("shop.Shop", "", "0.0.0", host=f"127.0.0.1:{port}")
    sys.stdin.readline()

    def work(name: int) -> None:
        for call in range(number):
            said = f"secret-{name}-{call}"
            assert client.call("echo", [said]) == said
            assert client.call("ping") == "secret-pong"
            with contextlib.suppress(DubboResponseException):
                client.call("absent")
                raise AssertionError("there is no such method")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("done", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
