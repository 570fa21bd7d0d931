"""System calls that take long, several at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def each(act: Callable[[Item], object], items: Iterable[Item], threads: int) -> None:
    """Call ``act`` with every item, on this thread and as many others as help.

    Items are taken up in their order. After an error no further ones are; what is being
    done is waited for, and the first error is raised.
    """
    left = iter(list(items))
    lock = threading.Lock()
    errors: list[BaseException] = []

    def work() -> None:
        while not errors:
            with lock:
                try:
                    item = next(left)
                except StopIteration:
                    return
            try:
                act(item)
            except BaseException as error:
                errors.append(error)

    helpers = [threading.Thread(target=work, daemon=True) for _ in range(threads - 1)]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    if errors:
        raise errors[0]
