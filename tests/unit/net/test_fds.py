"""Descriptors over unix sockets."""

from __future__ import annotations

import array
import os
import socket
import threading

import pytest

from forkproxy.net.fds import recv_fds, send_fds
from tests.descriptors import none_left

KINDS = (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)


def carry(kind: int, items: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    a, b = socket.socketpair(socket.AF_UNIX, kind)
    with a, b:
        sender = threading.Thread(target=send_fds, args=(a, items))
        sender.start()
        try:
            return recv_fds(b)
        finally:
            sender.join()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 250, 251, 700])
def test_round_trip(kind: int, count: int) -> None:
    with open("/dev/null") as null:
        inode = os.fstat(null.fileno()).st_rdev
        items = [(null.fileno(), b"name %d" % i) for i in range(count)]
        got = carry(kind, items)
        assert [text for _, text in got] == [text for _, text in items]
        fds = [fd for fd, _ in got]
        assert len(set(fds)) == count
        for fd in fds:
            assert os.fstat(fd).st_rdev == inode
            assert not os.get_inheritable(fd)
            os.close(fd)


@pytest.mark.parametrize("kind", KINDS)
def test_long_texts_make_more_batches(kind: int) -> None:
    with open("/dev/null") as null:
        items = [(null.fileno(), bytes([65 + i]) * 30_000) for i in range(7)]
        got = carry(kind, items)
        assert [text for _, text in got] == [text for _, text in items]
        for fd, _ in got:
            os.close(fd)


def test_a_text_has_a_limit() -> None:
    a, b = socket.socketpair()
    with a, b, pytest.raises(ValueError, match="too long"):
        send_fds(a, [(0, b"x" * 70_000)])


def test_two_messages_do_not_mix() -> None:
    a, b = socket.socketpair()
    with a, b, open("/dev/null") as null:
        send_fds(a, [(null.fileno(), b"one")])
        send_fds(a, [(null.fileno(), b"two"), (null.fileno(), b"three")])
        first, second = recv_fds(b), recv_fds(b)
        assert [[t for _, t in m] for m in (first, second)] == [[b"one"], [b"two", b"three"]]
        for fd, _ in first + second:
            os.close(fd)


def test_a_broken_message_leaks_nothing() -> None:
    with none_left(), open("/dev/null") as null:
        for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\x66\x64\x73\x31\x00\x00"):
            a, b = socket.socketpair()
            with b:
                a.sendmsg([junk], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null.fileno()] * 3))])
                a.close()
                with pytest.raises((ValueError, EOFError)):
                    recv_fds(b)


def test_the_peer_ends_first() -> None:
    a, b = socket.socketpair()
    a.close()
    with b, pytest.raises(EOFError):
        recv_fds(b)
