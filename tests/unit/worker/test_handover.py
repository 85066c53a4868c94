"""Handing the sockets over."""

from __future__ import annotations

import os
import socket
import struct
import threading
import uuid
from pathlib import Path

from forkproxy.worker import handover, inbox


def serve_once(
    name: str, sockets: dict[tuple[str, int], socket.socket], grant: bool, memory: tuple[int, bytes] | None = None,
    tables: dict[str, int] | None = None,
) -> tuple[threading.Thread, socket.socket, int]:
    rendezvous = handover.open_rendezvous(name)
    assert rendezvous is not None
    successor = os.eventfd(0, os.EFD_NONBLOCK)
    rendezvous.setblocking(True)
    ends = inbox.pair()

    def answer() -> None:
        handover.serve(rendezvous, lambda _pids: grant, handover.Estate(sockets, rendezvous, successor, ends, memory, tables or {}))
        for end in ends:
            end.close()

    thread = threading.Thread(target=answer)
    thread.start()
    return thread, rendezvous, successor


def test_every_socket_arrives_under_its_name() -> None:
    name = f"\0forkproxy-test/{uuid.uuid4()}"
    sockets = {("tcp a", i): socket.create_server(("127.0.0.1", 0)) for i in range(3)}
    thread, rendezvous, successor = serve_once(name, sockets, True)
    estate = handover.ask(name, [7])
    thread.join()
    assert estate is not None
    assert {key: sock.getsockname() for key, sock in estate.sockets.items()} == {k: s.getsockname() for k, s in sockets.items()}
    os.eventfd_write(estate.successor, 1)
    assert os.eventfd_read(successor) == 1
    assert estate.memory is None
    estate.inbox[1].send(b"x")
    assert estate.inbox[0].recv(9) == b"x"
    for sock in [*sockets.values(), *estate.sockets.values(), rendezvous, estate.rendezvous, *estate.inbox]:
        sock.close()
    os.close(successor)
    os.close(estate.successor)


def test_the_memory_goes_along() -> None:
    name = f"\0forkproxy-test/{uuid.uuid4()}"
    fd = os.memfd_create("test")
    os.write(fd, b"cells")
    tables = {f"table {i} {'x' * 500}": os.memfd_create(str(i)) for i in range(300)}
    for number, table in enumerate(tables.values()):
        os.write(table, b"%d" % number)
    thread, rendezvous, successor = serve_once(name, {}, True, (fd, b"names" * 100_000), tables)
    estate = handover.ask(name, [])
    thread.join()
    assert estate is not None and estate.memory is not None
    assert {key: os.pread(table, 9, 0) for key, table in estate.tables.items()} == {key: b"%d" % i for i, key in enumerate(tables)}
    for number in (*tables.values(), *estate.tables.values()):
        os.close(number)
    assert os.pread(estate.memory[0], 10, 0) == b"cells"
    assert estate.memory[1] == b"names" * 100_000
    for sock in [rendezvous, estate.rendezvous, *estate.inbox]:
        sock.close()
    for number in (fd, estate.memory[0], successor, estate.successor):
        os.close(number)


def test_a_living_master_keeps_them() -> None:
    name = f"\0forkproxy-test/{uuid.uuid4()}"
    thread, rendezvous, successor = serve_once(name, {}, False)
    assert handover.ask(name, []) is None
    thread.join()
    rendezvous.close()
    os.close(successor)


def test_nobody_there() -> None:
    assert handover.ask(f"\0forkproxy-test/{uuid.uuid4()}", []) is None


def test_the_name_follows_the_real_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert handover.name_of([str(tmp_path / "a")]) == handover.name_of([str(tmp_path / "link")])
    assert handover.name_of([str(tmp_path / "a")]) != handover.name_of([str(tmp_path / "b")])


def test_strangers_get_nothing() -> None:
    class Peer:
        def __init__(self, uid: int) -> None:
            self.uid = uid

        def getsockopt(self, *_args: int) -> bytes:
            return struct.pack("3i", 1, self.uid, 1)

    trusted = [handover._trusted(Peer(uid)) for uid in (0, os.geteuid(), 54321)]  # type: ignore[arg-type]
    assert trusted == [True, True, False]
