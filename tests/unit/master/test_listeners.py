"""Racks: who accepts from what, and what a reload keeps."""

from __future__ import annotations

import errno
import socket

import pytest

from forkproxy.master.listeners import ListenError, Rack, pending
from forkproxy.net import sockets
from forkproxy.plan import Address, Bind, Frontend, Global, Plan
from forkproxy.values import replace


def plan(*ports: int) -> Plan:
    binds = tuple(Bind(address=Address("ipv4", "127.0.0.1", port)) for port in ports)
    return Plan(global_=Global(), frontends=(Frontend(name="f", id=1, binds=binds),))


def ports(count: int) -> list[int]:
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [sock.getsockname()[1] for sock in socks]
    for sock in socks:
        sock.close()
    return found


def test_every_worker_has_its_own_socket() -> None:
    rack = Rack.build(plan(*ports(2)), 3)
    shares = [rack.share(worker, 3) for worker in range(3)]
    assert [len(share) for share in shares] == [2, 2, 2]
    assert len({name for share in shares for name in share}) == 6
    rack.close()


def test_a_reload_keeps_sockets_binds_new_ones_and_names_leftovers() -> None:
    kept, removed, added = ports(3)
    old = Rack.build(plan(kept, removed), 2)
    new = Rack.build(plan(kept, added), 2, old=old)
    key = plan(kept).frontends[0].binds[0].key
    assert new.shelves[key].sockets == old.shelves[key].sockets
    assert [shelf.bind.address.port for shelf in old.leftovers(new)] == [removed]
    old.close()
    new.close()


def test_surplus_sockets_are_shared_out_and_get_nothing_new() -> None:
    (port,) = ports(1)
    old = Rack.build(plan(port), 4)
    waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    new = Rack.build(plan(port), 1, old=old)
    assert [index for _key, index in new.share(0, 1)] == [0, 1, 2, 3]
    assert [index for _key, index in new.surplus()] == [1, 2, 3]
    everything = list(new.sockets().values())
    accepted = [drain(sock) for sock in everything]
    assert sum(accepted) == 40
    later = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    assert [drain(sock) for sock in everything] == [20, 0, 0, 0]
    new.drop_surplus()
    assert len(new.sockets()) == 1
    new.close()
    for sock in waiting + later:
        sock.close()


def drain(sock: socket.socket) -> int:
    count = 0
    while (found := sockets.accept(sock)) is not None:
        found[0].close()
        count += 1
    return count


def test_a_failure_closes_what_it_made_and_changes_nothing() -> None:
    made: list[socket.socket] = []

    def listen(bind: Bind, **_options: object) -> socket.socket:
        if bind.address.port == 2:
            raise OSError(errno.EADDRINUSE, "cannot bind")
        made.append(socket.socket())
        return made[-1]

    with pytest.raises(ListenError, match=r"^Binding \[.*:\d+\] for proxy f: "):
        Rack.build(plan(1, 2), 2, listen=listen)
    assert len(made) == 2
    assert all(sock.fileno() < 0 for sock in made)


def test_the_key_is_what_cannot_be_changed_after_binding() -> None:
    bind = Bind(address=Address("ipv6", "::", 80))
    assert bind.key == replace(bind, backlog=7, name="x").key
    assert bind.key != replace(bind, v4v6=True).key
    assert bind.key != replace(bind, interface="lo").key


def test_unix_sockets_are_shared_by_all(tmp_path: object) -> None:
    bind = Bind(address=Address("unix", f"{tmp_path}/s"))
    rack = Rack.build(Plan(global_=Global(), frontends=(Frontend(name="f", id=1, binds=(bind,)),)), 3)
    assert rack.share(0, 3) == rack.share(2, 3) == [(bind.key, 0)]
    rack.close()


def test_pending_tells_whether_somebody_waits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not pending([server])
        with socket.create_connection(server.getsockname()):
            assert pending([server])


def test_pause_refuses_and_resume_accepts_again() -> None:
    (port,) = ports(1)
    rack = Rack.build(plan(port), 2)
    rack.pause()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    rack.resume()
    socket.create_connection(("127.0.0.1", port)).close()
    rack.close()


def test_paused_twice_it_serves_again() -> None:
    """A second shutdown would poison the socket: what it accepts later were born half closed."""
    rack = Rack.build(plan(*ports(1)), 1)
    ((_name, sock),) = rack.sockets().items()
    rack.pause()
    rack.pause()
    rack.resume()
    with socket.create_connection(sock.getsockname(), 5) as client:
        sock.setblocking(True)
        server, _ = sock.accept()
        with server:
            client.sendall(b"ping")
            assert server.recv(9) == b"ping"
    rack.close()


def test_what_was_bound_alone_stays_alone() -> None:
    """A socket without SO_REUSEPORT admits no other beside it, whatever the new file says."""
    (port,) = ports(1)
    alone = plan(port)
    old = Rack.build(replace(alone, global_=Global(options={"noreuseport": True})), 2)
    new = Rack.build(plan(port), 2, old=old)
    assert [len(s.sockets) for s in new.shelves.values()] == [1]
    assert new.share(0, 2) == new.share(1, 2)
    old.close()
    new.close()


@pytest.mark.parametrize(
    ("bind", "frontend", "expected"),
    [({"backlog": 5, "maxconn": 9}, 7, 5), ({"maxconn": 9}, 7, 7), ({"maxconn": 9}, 0, 9), ({}, 0, 1024)],
)
def test_the_length_of_the_queue(bind: dict[str, int], frontend: int, expected: int) -> None:
    asked: list[int] = []

    def listen(one: Bind, *, backlog: int, reuseport: bool) -> socket.socket:
        asked.append(backlog)
        return socket.socket()

    one = Bind(address=Address("ipv4", "127.0.0.1", 1), **bind)  # type: ignore[arg-type]
    fe = Frontend(name="f", id=1, binds=(one,), backlog=frontend)
    Rack.build(Plan(global_=Global(), frontends=(fe,)), 1, listen=listen).close()
    assert asked == [expected]


def test_one_frontend_is_paused_or_removed_and_the_others_are_not() -> None:
    first, second = ports(2)
    one = plan(first)
    two = replace(one.frontends[0], name="g", binds=plan(second).frontends[0].binds)
    rack = Rack.build(replace(one, frontends=(*one.frontends, two)), 2)
    rack.pause("f")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first))
    socket.create_connection(("127.0.0.1", second)).close()
    rack.resume("f")
    socket.create_connection(("127.0.0.1", first)).close()
    key = two.binds[0].key
    assert rack.remove("g") == [(key, 0), (key, 1)]
    assert list(rack.shelves) == [one.frontends[0].binds[0].key]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", second))
    rack.close()
