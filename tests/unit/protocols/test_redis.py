"""Redis as clients and servers speak it."""

from __future__ import annotations

import pytest

from otel_ebpf.protocols.base import EGRESS, INGRESS
from otel_ebpf.protocols.in_order import MAX_OUTSTANDING
from otel_ebpf.protocols.redis import RedisParser
from tests.unit.protocols.talk import Talk

OK = b"+OK\r\n"


def command(*words: bytes | str) -> bytes:
    """A command as an array of bulk strings."""
    args = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(args) + b"".join(bulk(arg) for arg in args)


def bulk(data: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(data), data)


@pytest.fixture
def talk() -> Talk:
    return Talk(RedisParser())


def test_commands_pair_with_their_replies_in_order(talk: Talk) -> None:
    talk.ask(command("SET", "greeting", "hello"))
    talk.answer(OK)
    talk.ask(command("get", "greeting") + command("INCR", "greeting") + command("GET", "none"))
    talk.answer(bulk(b"hello") + b"-ERR value is not an integer\r\n" + b"$-1\r\n")
    assert talk.pairs() == [
        ("SET greeting ?", "ok"),
        ("GET greeting", "ok"),
        ("INCR greeting", "ERR"),
        ("GET none", "ok"),
    ]
    assert {m.head.namespace for m in talk.requests} == {"0"}


def test_replies_of_every_type_of_resp3_are_one_each(talk: Talk) -> None:
    replies = [
        b"_\r\n",
        b"#t\r\n",
        b",3.14\r\n",
        b"(3492890328409238509324850943850943825024385\r\n",
        b"=15\r\ntxt:Some string\r\n",
        b"~2\r\n:1\r\n:2\r\n",
        b"%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n+x\r\n+y\r\n",
        b"|1\r\n+ttl\r\n:3\r\n*2\r\n:1\r\n:2\r\n",
        b"*2\r\n*1\r\n$-1\r\n*-1\r\n",
        b"*0\r\n",
        b"!21\r\nSYNTAX invalid syntax\r\n",
        b"-MOVED 3999 127.0.0.1:6381\r\n",
    ]
    for number, reply in enumerate(replies):
        talk.ask(command("GET", f"k{number}"))
        talk.answer(reply)
    ends = [end for _, end in talk.pairs()]
    assert ends[:10] == ["ok"] * 10
    assert ends[10] in ("SYNTAX", "_OTHER")
    assert ends[11] == "MOVED"


def test_an_error_that_is_no_code_leaks_no_text(talk: Talk) -> None:
    talk.ask(command("EVAL", "return redis.error_reply(ARGV[1])", "0", "card 4111"))
    talk.answer(b"-card 4111 is over its limit\r\n")
    (message,) = talk.requests
    answer = talk.answers[message.stream]
    assert (answer.head.status, answer.head.error) == ("", "_OTHER")
    assert message.head.text == "EVAL ? ? ?"


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_conversation_cut_anywhere_is_the_same(cut: int) -> None:
    asked = command("SET", "k", b"1\r\n2\r\n$9\r\n") + command("LRANGE", "l", "0", "-1")
    told = OK + b"*2\r\n" + bulk(b"a\r\n") + b":7\r\n"
    talk = Talk(RedisParser())
    talk.ask(asked[:cut])
    talk.ask(asked[cut:])
    talk.answer(told[: cut % len(told)])
    talk.answer(told[cut % len(told) :])
    assert talk.pairs() == [("SET k ?", "ok"), ("LRANGE l ? ?", "ok")]
    assert talk.parser.desyncs == 0


def test_transactions_are_one_call_for_each_command(talk: Talk) -> None:
    talk.ask(command("MULTI") + command("SET", "a", "1") + command("INCR", "a") + command("EXEC"))
    talk.answer(OK + b"+QUEUED\r\n+QUEUED\r\n" + b"*2\r\n+OK\r\n-WRONGTYPE inner\r\n")
    assert talk.pairs() == [
        ("MULTI", "ok"),
        ("SET a ?", "ok"),
        ("INCR a", "ok"),
        ("EXEC", "ok"),
    ]


def test_subscriptions_and_their_messages_answer_nothing_else(talk: Talk) -> None:
    talk.ask(command("SUBSCRIBE", "news", "sport"))
    talk.answer(b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n")
    assert talk.pairs() == [("SUBSCRIBE news sport", None)]
    talk.answer(b"*3\r\n$9\r\nsubscribe\r\n$5\r\nsport\r\n:2\r\n")
    talk.answer(b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n" * 3)
    talk.ask(command("PING"))
    talk.answer(b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n")
    talk.ask(command("UNSUBSCRIBE"))
    talk.answer(
        b"*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:1\r\n"
        b"*3\r\n$11\r\nunsubscribe\r\n$5\r\nsport\r\n:0\r\n"
    )
    talk.ask(command("GET", "k"))
    talk.answer(bulk(b"v"))
    assert [end for _, end in talk.pairs()] == ["ok"] * 4
    assert talk.parser.desyncs == 0


def test_pushes_of_resp3_answer_nothing(talk: Talk) -> None:
    talk.ask(command("HELLO", "3"))
    talk.answer(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n" + b"%1\r\n+proto\r\n:3\r\n")
    talk.ask(command("SUBSCRIBE", "c") + command("GET", "k"))
    talk.answer(b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n" + bulk(b"v"))
    talk.answer(b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n")
    assert [end for _, end in talk.pairs()] == ["ok", "ok", "ok"]
    assert talk.parser.desyncs == 0


def test_client_reply_off_and_skip(talk: Talk) -> None:
    talk.ask(command("CLIENT", "REPLY", "SKIP") + command("SET", "a", "1") + command("GET", "a"))
    talk.answer(bulk(b"1"))
    talk.ask(
        command("CLIENT", "REPLY", "OFF") + command("SET", "b", "2") + command("SET", "c", "3")
    )
    talk.ask(command("CLIENT", "REPLY", "ON") + command("GET", "b"))
    talk.answer(OK + bulk(b"2"))
    assert [m.oneway for m in talk.requests] == [True, True, False, True, True, True, False, False]
    assert [end for _, end in talk.pairs() if end] == ["ok", "ok", "ok"]


def test_a_blocking_command_waits_for_its_own_reply(talk: Talk) -> None:
    talk.ask(command("BLPOP", "queue", "0"))
    talk.silence(5000)
    assert talk.pairs() == [("BLPOP queue ?", None)]
    talk.answer(b"*2\r\n" + bulk(b"queue") + bulk(b"job"))
    assert talk.pairs() == [("BLPOP queue ?", "ok")]


@pytest.mark.parametrize(
    ("words", "handed"), [(["PSYNC", "?", "-1"], "replication"), (["MONITOR"], "monitor")]
)
def test_streams_of_the_servers_are_recognised_and_silent(words: list[str], handed: str) -> None:
    talk = Talk(RedisParser())
    talk.ask(command(*words))
    talk.answer(OK)
    assert talk.parser.upgraded == handed
    told = len(talk.requests)
    for _ in range(3):
        talk.answer(b'+1 [0 127.0.0.1:1] "get" "k"\r\n' + command("SET", "k", "v"))
        talk.ask(command("REPLCONF", "ACK", "12"))
    assert len(talk.requests) == told


def test_a_replica_link_that_was_joined_midway_stays_silent() -> None:
    """There the server sends commands, and is answered with REPLCONF ACK now and then."""
    talk = Talk(RedisParser(), fresh=False)
    for _ in range(10):
        talk.silence(100)
        talk.ask(command("PING"))
        talk.silence(100)
        talk.answer(command("REPLCONF", "ACK", "12"))
    assert talk.requests == []


def test_joined_midway_nothing_is_told_until_a_silence_on_either_side_of_a_turn() -> None:
    talk = Talk(RedisParser(), fresh=False)
    talk.answer(bulk(b"of a request that nobody saw"))
    for _ in range(3):  # without a pause: others may share the connection
        talk.ask(command("GET", "a"))
        talk.answer(bulk(b"1"))
    assert talk.requests == []
    talk.silence()
    talk.ask(command("GET", "b"))
    talk.answer(bulk(b"2"))
    talk.silence()
    talk.ask(command("GET", "c"))
    talk.answer(bulk(b"3"))
    talk.ask(command("GET", "d"))
    talk.answer(bulk(b"4"))
    assert talk.pairs() == [("GET c", "ok"), ("GET d", "ok")]


def test_a_shared_connection_joined_midway_is_never_off_by_one() -> None:
    """One request is always under way: each turn looks right and none is."""
    talk = Talk(RedisParser(), fresh=False)
    talk.silence()
    for number in range(100):
        talk.ask(command("GET", f"k{number}"))
        talk.clock += 30_000_000 if number % 10 == 0 else 100_000
        talk.answer(bulk(b"of the one before"))
    talk.answer(bulk(b"of the last"))
    assert talk.requests == []


def test_a_long_string_is_counted_through_bytes_that_were_not_captured(talk: Talk) -> None:
    asked = command("SET", "big", b"x" * 100_000)
    talk.ask(asked[:4096], 60_000)
    talk.ask(b"", len(asked) - 60_000)
    talk.answer(OK)
    told = bulk(b"y" * 100_000)
    talk.ask(command("GET", "big"))
    talk.answer(told[:1024], 50_000)
    talk.answer(b"", len(told) - 50_000)
    talk.ask(command("GET", "next"))
    talk.answer(OK)
    assert talk.pairs() == [("SET big ?", "ok"), ("GET big", "ok"), ("GET next", "ok")]
    assert talk.answers[2].length == len(told)
    assert talk.answers[2].end > talk.answers[2].start


def test_a_long_array_ends_at_the_turn(talk: Talk) -> None:
    told = b"*1000\r\n" + bulk(b"element") * 1000
    talk.ask(command("LRANGE", "l", "0", "-1"))
    talk.answer(told[:1024], 8000)
    talk.answer(b"", len(told) - 8000)
    ended = talk.clock + 500
    assert talk.parser.open_ended
    talk.silence()
    talk.ask(command("GET", "k"))
    talk.answer(bulk(b"v"))
    assert talk.pairs() == [("LRANGE l ? ?", "ok"), ("GET k", "ok")]
    assert talk.answers[1].end == ended
    assert talk.answers[1].truncated
    assert talk.answers[1].length == len(told)


def test_a_pipeline_whose_replies_were_not_all_captured_is_not_guessed(talk: Talk) -> None:
    talk.ask(command("GET", "k") * 5)
    talk.answer(bulk(b"v") * 2 + b"$50\r\nxx", 400)
    assert [end for _, end in talk.pairs()] == ["ok", "ok", "ok", "response_lost", "response_lost"]
    talk.ask(command("GET", "z"))
    talk.answer(bulk(b"v"))
    assert len(talk.requests) == 5
    for _ in range(2):
        talk.silence()
        talk.ask(command("GET", "z"))
        talk.answer(bulk(b"v"))
    assert talk.pairs()[5:] == [("GET z", "ok")]


def test_lost_records_lose_what_they_make_uncertain(talk: Talk) -> None:
    talk.ask(command("GET", "k"))
    talk.keep(talk.parser.gap(INGRESS, talk.clock))
    talk.answer(bulk(b"of whom?"))
    assert talk.pairs() == [("GET k", "response_lost")]


def test_the_database_is_told_once_it_is_selected(talk: Talk) -> None:
    talk.ask(command("SELECT", "7") + command("GET", "k"))
    talk.answer(OK + bulk(b"v"))
    talk.ask(command("GET", "k"))
    talk.answer(bulk(b"v"))
    talk.ask(command("SELECT", "99"))
    talk.answer(b"-ERR DB index is out of range\r\n")
    assert [m.head.namespace for m in talk.requests] == ["0", "", "7", "7"]


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "words",
    [
        ["AUTH", SECRET],
        ["AUTH", "user", SECRET],
        ["HELLO", "3", "AUTH", "user", SECRET, "SETNAME", "me"],
        ["ACL", "SETUSER", "alice", "on", f">{SECRET}", "~*", "+@all"],
        ["CONFIG", "SET", "requirepass", SECRET],
        ["CONFIG", "SET", "maxmemory", "1", "masterauth", SECRET],
        ["MIGRATE", "host", "6379", "", "0", "5000", "AUTH", SECRET, "KEYS", "k"],
        ["MIGRATE", "host", "6379", "", "0", "5000", "AUTH2", "user", SECRET, "KEYS", "k"],
        ["SENTINEL", "SET", "mymaster", "auth-pass", SECRET],
        ["SET", "k", SECRET],
        ["HSET", "h", "password", SECRET],
        ["EVAL", f"return '{SECRET}'", "1", "k", SECRET],
        ["SCRIPT", "LOAD", f"return '{SECRET}'"],
        ["FUNCTION", "LOAD", f"#!lua name={SECRET}"],
        ["PUBLISH", "c", SECRET],
        ["ECHO", SECRET],
        ["MSET", "a", SECRET, "b", SECRET],
        [f"{SECRET}"],
        ["NOT.KNOWN", SECRET, SECRET],
        ["BITOP", SECRET, "dest", "src"],
    ],
)
def test_secrets_never_leave(talk: Talk, words: list[str]) -> None:
    for said in (command(*words), " ".join(w for w in words if w).encode() + b"\r\n"):
        talk.ask(said)
        talk.answer(f"-NOAUTH {SECRET} wrong\r\n".encode())
    for message in talk.requests:
        head = message.head
        told = [head.text, head.summary, head.operation, head.procedure, head.namespace]
        if words != [SECRET]:
            assert not [word for word in told if SECRET.lower() in word.lower()]
        answer = talk.answers[message.stream].head
        assert SECRET not in answer.error + answer.status


@pytest.mark.parametrize(
    ("words", "operation", "text"),
    [
        (["config", "get", "maxmemory"], "CONFIG GET", "CONFIG GET ?"),
        (["MSET", "a", "1", "b", "2"], "MSET", "MSET a ? b ?"),
        (["DEL", "a", "b"], "DEL", "DEL a b"),
        (["BLPOP", "q1", "q2", "5"], "BLPOP", "BLPOP q1 q2 ?"),
        (["ZADD", "z", "1", "member"], "ZADD", "ZADD z ? ?"),
        (["EVALSHA", "c0ffee", "1", "k", "v"], "EVALSHA", "EVALSHA c0ffee ? k ?"),
        (["XGROUP", "CREATE", "s", "g", "$"], "XGROUP CREATE", "XGROUP CREATE s ? ?"),
        (["OBJECT", "ENCODING", "k"], "OBJECT ENCODING", "OBJECT ENCODING k"),
        (["INFO"], "INFO", "INFO"),
        (["ZUNION", "2", "a", "b", "WEIGHTS", "1", "2"], "ZUNION", "ZUNION ? a b ? ? ?"),
    ],
)
def test_keys_are_kept_and_values_are_not(
    talk: Talk, words: list[str], operation: str, text: str
) -> None:
    talk.ask(command(*words))
    (message,) = talk.requests
    assert (message.head.operation, message.head.summary) == (operation, operation)
    assert message.head.text == text


def test_a_word_that_can_be_no_command_is_no_name(talk: Talk) -> None:
    talk.ask(command("x" * 40, "k"))
    talk.ask(command(b"\xff\x00", "k"))
    talk.answer(b"-ERR unknown command\r\n" * 2)
    assert [m.head.operation for m in talk.requests] == ["", ""]


def test_inline_commands(talk: Talk) -> None:
    talk.ask(b"\r\nPING\r\nget greeting\r\n")
    talk.answer(b"+PONG\r\n" + bulk(b"hi"))
    assert talk.pairs() == [("PING", "ok"), ("GET greeting", "ok")]


def test_internal_calls_are_marked(talk: Talk) -> None:
    for words in (["PING"], ["AUTH", "x"], ["CLIENT", "SETNAME", "x"], ["GET", "k"], ["PUBLISH"]):
        talk.ask(command(*words))
        talk.answer(OK)
    assert [bool(m.head.chatter) for m in talk.requests] == [True, True, True, False, False]


def test_memory_is_bounded(talk: Talk) -> None:
    for _ in range(MAX_OUTSTANDING // 64 + 2):
        talk.ask(command("GET", "k") * 64)
    assert len(talk.parser._outstanding) <= MAX_OUTSTANDING
    assert len(talk.requests) == MAX_OUTSTANDING + 1
    assert all(m.error == "response_lost" for m in talk.requests)
    talk = Talk(RedisParser())
    for _ in range(100):
        talk.ask(b"*1000000\r\n" if not talk.parser._requests.inside else bulk(b"x" * 5000))
    assert sum(map(len, talk.parser._requests.args)) < 64 * 256 + 1
    talk.answer(b"+" + b"x" * 100_000)
    talk.answer(b"x" * 100_000)
    assert len(talk.parser._replies._line) < 10_000


def test_bytes_that_are_no_redis_are_a_desync_and_a_fresh_start_follows(talk: Talk) -> None:
    talk.ask(command("GET", "k"))
    talk.answer(b"HTTP/1.1 200 OK\r\n\r\n")
    assert talk.parser.desyncs == 1
    assert talk.pairs() == [("GET k", "response_lost")]
    for _ in range(2):
        talk.silence()
        talk.ask(command("GET", "k2"))
        talk.answer(bulk(b"v"))
    assert talk.pairs()[1:] == [("GET k2", "ok")]


def test_the_servers_view_pairs_the_same() -> None:
    parser = RedisParser()
    parser.begin(INGRESS, True)
    (asked,) = parser.feed(INGRESS, command("GET", "k"), 20, 1, 1, None)
    (told,) = parser.feed(EGRESS, b"$-1\r\n", 5, 2, 2, None)
    assert asked.direction == INGRESS
    assert told.direction == EGRESS
    assert told.stream == asked.stream
