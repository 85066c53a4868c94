"""Every sample whole, byte by byte, and with something behind it."""

from __future__ import annotations

from typing import Any

import pytest

from forkproxy.errors import ProtocolError
from forkproxy.http.body import Chunks
from forkproxy.http.message import Head, RequestHead, ResponseHead
from forkproxy.http.reader import Limits, parse_request, parse_response
from tests.wire.http_samples import CHUNKED_BODIES, REQUESTS, RESPONSES, Outcome

LIMITS = Limits()


def check(head: Head, outcome: dict[str, Any]) -> None:
    for name, value in outcome.items():
        if name == "fields":
            assert head.block() == value
        elif name == "start":
            assert isinstance(head, RequestHead | ResponseHead)
            assert head.start_line() == value
        else:
            assert getattr(head, name) == value, name
    assert not head.changed


def run(raw: bytes, outcome: Outcome, parse: Any) -> None:
    if isinstance(outcome, int):
        with pytest.raises(ProtocolError) as caught:
            parse(raw, 0)
        assert caught.value.status == outcome
        with pytest.raises(ProtocolError) as caught:
            parse(raw + b"GET / HTTP/1.1\r\n\r\n", 0)
        assert caught.value.status == outcome
    else:
        for before, after in (
            (b"", b""),
            (b"", b"\r\n"),
            (b"GET", b"abc"),
            (b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
            (b"", b"\0\n\n\r\n\r\n"),
        ):
            head, end = parse(before + raw + after, len(before))
            assert end == len(before) + len(raw)
            check(head, outcome)
        head, end = parse(bytearray(raw), 0)
        assert type(head.fields_raw) is bytes
        check(head, outcome)


def run_slowly(raw: bytes, outcome: Outcome, parse: Any) -> None:
    """A good message is complete with its last byte and not before; a bad one is refused at its last byte at the latest."""
    for cut in range(len(raw)):
        try:
            assert parse(raw[:cut], 0) is None
        except ProtocolError as error:
            assert error.status == outcome
            return
    run(raw, outcome, parse)


IDS = [row[0] for row in REQUESTS]
RESPONSE_IDS = [row[0] for row in RESPONSES]
BODY_IDS = [row[0] for row in CHUNKED_BODIES]


@pytest.mark.parametrize(("what", "raw", "outcome"), REQUESTS, ids=IDS)
@pytest.mark.parametrize("runner", [run, run_slowly], ids=["whole", "bytes"])
def test_request(what: str, raw: bytes, outcome: Outcome, runner: Any) -> None:
    runner(raw, outcome, lambda buf, start: parse_request(buf, start, LIMITS))


@pytest.mark.parametrize(("what", "method", "raw", "outcome"), RESPONSES, ids=RESPONSE_IDS)
@pytest.mark.parametrize("runner", [run, run_slowly], ids=["whole", "bytes"])
def test_response(what: str, method: bytes, raw: bytes, outcome: Outcome, runner: Any) -> None:
    runner(raw, outcome, lambda buf, start: parse_response(buf, start, LIMITS, method))


def feed_slowly(raw: bytes, step: int) -> tuple[bytes, int, bool]:
    chunks = Chunks()
    held = out = b""
    for at in range(0, len(raw), step):
        held += raw[at : at + step]
        good, used, done = chunks.feed(held)
        out += good
        held = held[used:]
        if done:
            return out, min(at + step, len(raw)) - len(held), True
    return out, len(raw) - len(held), False


@pytest.mark.parametrize(("what", "raw", "expected"), CHUNKED_BODIES, ids=BODY_IDS)
def test_chunked_body(what: str, raw: bytes, expected: bytes | None) -> None:
    if expected is None:
        with pytest.raises(ProtocolError) as caught:
            Chunks().feed(raw)
        assert caught.value.status == 400
        for step in (1, 2, 3, 5):
            with pytest.raises(ProtocolError):
                feed_slowly(raw, step)
        return
    complete = expected.endswith(b"\r\n\r\n")
    assert Chunks().feed(raw) == (expected, len(raw), complete)
    if complete:
        assert Chunks().feed(raw + b"GET / HTTP/1.1\r\n\r\n") == (expected, len(raw), True)
        assert Chunks().feed(b"xx" + raw + b"0", 2) == (expected, len(raw) + 2, True)
    for step in (1, 2, 3, 5, 7):
        out, used, done = feed_slowly(raw, step)
        assert (out, done) == (expected, complete)
        assert used == len(raw)
