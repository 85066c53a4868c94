"""Transcripts of answers whose body is a large file: it leaves by sendfile, at the client's pace, and nothing else changes."""

from __future__ import annotations

import os
from typing import Any

import pytest

from forkproxy.net.pipes import Content
from forkproxy.rules.verdict import Reply
from tests.session.stage import Stage, Wire

DATA = bytes(100_000)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Kernel:
    """``os.sendfile`` to a wire: takes so many bytes at once, ``room`` in all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        self.sent: list[tuple[int, int]] = []
        monkeypatch.setattr(os, "sendfile", self.sendfile)

    def sendfile(self, out: int, fd: int, offset: int, count: int) -> int:
        assert os.pread(fd, count, offset) == DATA[offset : offset + count]
        taken = min(count, self.room)
        if not taken:
            raise BlockingIOError
        self.room -= taken
        self.sent.append((offset, taken))
        return taken


def theatre(monkeypatch: pytest.MonkeyPatch, room: int) -> tuple[Stage, Wire, Kernel]:
    verdict = Reply("reply", status=200, body=lambda txn: DATA, content_type=b"text/plain", large=Content(DATA))
    steps: Any = (lambda txn: verdict,)
    stage = Stage(monkeypatch, front={"mode": "http", "http_request": steps}, back={"mode": "http"}, client_s=10.0)
    return stage, stage.client(), Kernel(monkeypatch, room)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\ncontent-type: text/plain\r\n%b\r\n"


def test_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, c, kernel = theatre(monkeypatch, 1 << 30)
    for n in (1, 2):
        stage.says(c, GET)
        assert c.got == HEAD % b"" * n and kernel.sent == [(0, 100_000)] * n
    assert not c.closed and [(line[0], line[5]) for line in stage.log] == [("LR", len(HEAD % b"") + 100_000)] * 2


def test_head_only(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, c, kernel = theatre(monkeypatch, 1 << 30)
    stage.says(c, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert c.got == HEAD % b"" and not kernel.sent and stage.log[0][5] == len(c.got)


def test_at_the_clients_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, c, kernel = theatre(monkeypatch, 30_000)
    stage.says(c, GET + GET)
    for _ in range(2):
        assert not stage.log
        stage.passes(6.0)  # twice less than timeout client: bytes that were taken are a sign of life
        kernel.room += 30_000
        stage.takes(c)
    kernel.room += 30_000
    stage.takes(c)
    assert len(stage.log) == 1 and kernel.sent[:4] == [(0, 30_000), (30_000, 30_000), (60_000, 30_000), (90_000, 10_000)]
    assert kernel.sent[4] == (0, 20_000), "the next one has begun"
    stage.passes(10.1)
    assert c.closed and [line[0] for line in stage.log] == ["LR", "cL"]


def test_behind_a_head_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, c, kernel = theatre(monkeypatch, 1 << 30)
    c.room = 10
    stage.says(c, GET)
    assert len(c.got) == 10 and not kernel.sent
    stage.takes(c)
    assert c.got == HEAD % b"" and kernel.sent == [(0, 100_000)] and len(stage.log) == 1


def test_the_client_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, c, _ = theatre(monkeypatch, 30_000)
    stage.says(c, GET)
    stage.resets(c)
    assert c.closed and [line[0] for line in stage.log] == ["CL"]
