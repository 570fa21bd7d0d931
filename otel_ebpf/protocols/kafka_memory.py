"""What Kafka's connections tell each other: topics' names by id, groups by who reads for them.

A client learns these on one connection and uses them on another.
"""

from __future__ import annotations

from collections.abc import Mapping

from cachetools import LRUCache

MAX_TOPICS = 8192
MAX_GROUPS = 4096


class KafkaMemory:
    """One for all connections. Ids are unique in the world, whoever tells them."""

    def __init__(self) -> None:
        self._topics: LRUCache[bytes, str] = LRUCache(MAX_TOPICS)
        self._groups: LRUCache[tuple[int, str], str] = LRUCache(MAX_GROUPS)

    def learn_topics(self, names: Mapping[bytes, str]) -> None:
        """Topics' names by id."""
        for topic, name in names.items():
            self._topics[topic] = name

    def topic(self, topic: bytes) -> str:
        """The topic's name, or ""."""
        name: str = self._topics.get(topic, "")
        return name

    def learn_group(self, process: int, client: str, group: str) -> None:
        """The client of this name in that process is a member of the group."""
        key = process, client
        known = self._groups.get(key)
        if known is None:
            self._groups[key] = group
        elif known != group:
            self._groups[key] = ""  # several of one name

    def group(self, process: int, client: str) -> str:
        """The group of a client, or "" where it is in none or not known."""
        group: str = self._groups.get((process, client), "")
        return group
