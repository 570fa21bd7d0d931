"""What a call to a database is made of, whichever database it is.

Parsers put these into ``Message.head``; ``spans/db.py`` makes attributes of them. Texts hold
no literals and no secrets when they get here: what a parser drops can leave nowhere.
"""

from __future__ import annotations

UNLESS_FAILED, ALWAYS = 1, 2


class DbRequest:
    """A call.

    Attributes:
        system: ``db.system.name``.
        operation: ``db.operation.name``; empty where it is not known.
        summary: ``db.query.summary``, of few different values; names the span.
        text: ``db.query.text``, literals replaced by ``?``.
        collection: ``db.collection.name``, or empty.
        namespace: ``db.namespace``, or empty where the connection's start was not seen.
        procedure: ``db.stored_procedure.name``, or empty.
        batch: operations that it consists of, where that is more than one; else 0.
        chatter: the client library's own (a ping, a login), not the program's, and so left out:
            UNLESS_FAILED or ALWAYS; else 0.
    """

    __slots__ = (
        "batch",
        "chatter",
        "collection",
        "namespace",
        "operation",
        "procedure",
        "summary",
        "system",
        "text",
    )

    def __init__(
        self,
        system: str,
        operation: str,
        text: str,
        summary: str = "",
        collection: str = "",
        namespace: str = "",
        procedure: str = "",
        chatter: int = 0,
        batch: int = 0,
    ) -> None:
        self.system = system
        self.operation = operation
        self.text = text
        self.summary = summary
        self.collection = collection
        self.namespace = namespace
        self.procedure = procedure
        self.chatter = chatter
        self.batch = batch


class DbResponse:
    """An answer.

    Attributes:
        status: ``db.response.status_code``: the database's own code, or empty.
        error: ``error.type`` of an answer that says that the call failed, or empty.
        said: more of the error, for people: free of what the call was about; or empty.
    """

    __slots__ = ("error", "said", "status")

    def __init__(self, status: str = "", error: str = "", said: str = "") -> None:
        self.status = status
        self.error = error
        self.said = said


DONE = DbResponse()
"""What most answers are."""
