"""Listening, accepting and dialling on loopback, with the kernel as the witness."""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import struct
from pathlib import Path
from typing import Any

import pytest

from forkproxy.net import sockets
from forkproxy.net.listening import BindError, listen
from forkproxy.net.sockets import accept, accept_as, dial
from forkproxy.plan import Address, Bind
from forkproxy.values import replace
from tests.descriptors import none_left
from tests.privilege import net_admin

TCP = socket.IPPROTO_TCP
V4 = Bind(address=Address("ipv4", "127.0.0.1"))


def dial_of(lsock: socket.socket) -> Address:
    if lsock.family == socket.AF_UNIX:
        name = lsock.getsockname()
        return Address("abns", name[1:].rstrip(b"\0").decode()) if isinstance(name, bytes) else Address("unix", name)
    host, port = lsock.getsockname()[:2]
    return Address("ipv6" if lsock.family == socket.AF_INET6 else "ipv4", host, port)


def wait(sock: socket.socket, event: int) -> None:
    poll = select.poll()
    poll.register(sock, event)
    assert poll.poll(5000), "nothing happened"


def connected(lsock: socket.socket, address: Address | None = None, **options: Any) -> tuple[socket.socket, socket.socket]:
    client, done = dial(address or dial_of(lsock), **options)
    if not done:
        wait(client, select.POLLOUT)
        assert sockets.outcome(client) == 0
    wait(lsock, select.POLLIN)
    found = accept(lsock)
    assert found is not None
    return client, found[0]


def exchange(lsock: socket.socket, address: Address | None = None) -> None:
    client, server = connected(lsock, address)
    with client, server:
        client.send(b"ping")
        wait(server, select.POLLIN)
        assert server.recv(10) == b"ping"


# -- listening


def test_ipv4_accepts_nonblocking_with_nodelay() -> None:
    with listen(V4, reuseport=False) as lsock:
        assert lsock.gettimeout() == 0.0
        assert not lsock.get_inheritable()
        assert accept(lsock) is None
        client, done = dial(dial_of(lsock))
        wait(lsock, select.POLLIN)
        found = accept(lsock)
        assert found is not None
        server, peer = found
        with client, server:
            assert peer == client.getsockname()
            assert server.family == socket.AF_INET and server.type == socket.SOCK_STREAM
            assert not os.get_blocking(server.fileno()) and not os.get_inheritable(server.fileno())
            assert server.getsockopt(TCP, socket.TCP_NODELAY)
            assert client.getsockopt(TCP, socket.TCP_NODELAY)
            with pytest.raises(BlockingIOError):
                server.recv(1)
            assert isinstance(done, bool)


@pytest.mark.interpreted  # a compiled module's final names cannot be replaced
def test_accept_makes_three_calls_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No getsockopt for family, type and protocol: they are given to the new socket."""
    with listen(V4, reuseport=False) as lsock:
        client, server = connected(lsock)
        with client, server:
            seen: list[tuple[Any, ...]] = []

            real = sockets._Socket

            def spy(family: int, kind: int, proto: int, fd: int) -> socket.socket:
                seen.append((family, kind, proto, fd >= 0))
                made: socket.socket = real(family, kind, proto, fd)
                return made

            other, _ = dial(dial_of(lsock))
            wait(lsock, select.POLLIN)
            monkeypatch.setattr(sockets, "_Socket", spy)
            found = accept(lsock)
            monkeypatch.undo()
            assert found is not None
            assert seen == [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, True)] or seen == [
                (socket.AF_INET, socket.SOCK_STREAM, 0, True)
            ]
            found[0].close()
            other.close()


def test_reuseaddr_and_reuseport() -> None:
    with listen(V4, reuseport=True) as first:
        assert first.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        port = first.getsockname()[1]
        same = replace(V4, address=replace(V4.address, port=port))
        with listen(same, reuseport=True) as second:
            assert second.getsockname() == first.getsockname()
        with pytest.raises(BindError) as caught:
            listen(same, reuseport=False)
        assert str(caught.value) == f"cannot bind socket (Address already in use) for [127.0.0.1:{port}]"
        assert caught.value.errno == errno.EADDRINUSE
        assert isinstance(caught.value, OSError)


def test_a_failure_leaks_no_descriptor() -> None:
    with listen(V4, reuseport=False) as lsock:
        same = replace(V4, address=replace(V4.address, port=lsock.getsockname()[1]))
        for _ in range(3):
            with none_left(), pytest.raises(BindError):
                listen(same, reuseport=False)


def test_foreign_address_is_an_error_with_reason() -> None:
    with pytest.raises(BindError, match=r"^cannot bind socket \(Cannot assign requested address\) for \[192\.0\.2\.77:0\]$"):
        listen(Bind(address=Address("ipv4", "192.0.2.77")), reuseport=False)


def test_ipv6_only_and_both() -> None:
    for options, v6only in (({"v6only": True}, 1), ({"v4v6": True}, 0)):
        with listen(Bind(address=Address("ipv6", "::"), **options), reuseport=False) as lsock:  # type: ignore[arg-type]
            assert lsock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == v6only
            port = lsock.getsockname()[1]
            exchange(lsock, Address("ipv6", "::1", port))
            if not v6only:
                exchange(lsock, Address("ipv4", "127.0.0.1", port))


def test_wildcard_names() -> None:
    with listen(Bind(address=Address("ipv4", "*")), reuseport=False) as lsock:
        assert lsock.getsockname()[0] == "0.0.0.0"
    with listen(Bind(address=Address("ipv6", "")), reuseport=False) as lsock:
        assert lsock.getsockname()[0] == "::"


def test_options_reach_the_kernel() -> None:
    bind = replace(V4, defer_accept=True, tfo=True, mss=1200, tcp_ut_ms=7000, interface="lo")
    with listen(bind, reuseport=False, quickack=False, rcvbuf=65536, sndbuf=65536) as lsock:
        assert lsock.getsockopt(TCP, socket.TCP_DEFER_ACCEPT) > 0
        assert lsock.getsockopt(TCP, socket.TCP_FASTOPEN) > 0
        assert lsock.getsockopt(TCP, socket.TCP_MAXSEG) == 1200
        assert lsock.getsockopt(TCP, socket.TCP_USER_TIMEOUT) == 7000
        assert lsock.getsockopt(TCP, socket.TCP_QUICKACK) == 0
        assert lsock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
        assert lsock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 131072  # the kernel doubles
        assert lsock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 131072


def test_negative_mss_lowers() -> None:
    with listen(V4, reuseport=False) as plain, listen(replace(V4, mss=-36), reuseport=False) as lowered:
        normal = plain.getsockopt(TCP, socket.TCP_MAXSEG)
        assert lowered.getsockopt(TCP, socket.TCP_MAXSEG) == normal - 36


def test_unknown_interface() -> None:
    with pytest.raises(BindError, match=r"cannot bind listener to device \(No such device\)"):
        listen(replace(V4, interface="nosuch0"), reuseport=False)


def test_unknown_namespace() -> None:
    with pytest.raises(BindError, match=r"cannot create listening socket \(No such file or directory\)"):
        listen(replace(V4, namespace="no-such-namespace"), reuseport=False)


@net_admin
def test_transparent_binds_a_foreign_address() -> None:
    with listen(Bind(address=Address("ipv4", "192.0.2.77"), transparent=True), reuseport=False) as lsock:
        assert lsock.getsockname()[0] == "192.0.2.77"


def test_backlog_is_the_argument_then_the_binds() -> None:
    """A full queue lets no further connection in: with a backlog of 1 two connections stand and the third does not."""
    for bind, given in ((V4, 1), (replace(V4, backlog=1), 0)):
        with listen(bind, reuseport=False, backlog=given) as lsock:
            tries = [dial(dial_of(lsock))[0] for _ in range(4)]
            poll = select.poll()
            for sock in tries:
                poll.register(sock, select.POLLOUT)
            assert len(poll.poll(0)) < 4
            for sock in tries:
                sock.close()


# -- unix sockets


def test_unix_mode_and_atomic_replacement(tmp_path: Path) -> None:
    path = tmp_path / "s"
    bind = Bind(address=Address("unix", str(path)), mode=0o640, uid=os.getuid(), gid=os.getgid())
    with listen(bind, reuseport=False) as old:
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        inode = path.stat().st_ino
        with listen(bind, reuseport=False) as new:  # the old one still listens: as in a reload
            assert path.stat().st_ino != inode
            exchange(new, Address("unix", str(path)))
            assert accept(old) is None
        assert os.listdir(tmp_path) == ["s"]  # no temporary name is left
    # both are closed, the stale file is there: binding replaces it
    with listen(bind, reuseport=False) as again:
        exchange(again, Address("unix", str(path)))


def test_unix_never_replaces_another_kind_of_file(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(BindError, match=r"the path exists and is not a socket"):
        listen(Bind(address=Address("unix", str(path))), reuseport=False)
    assert path.read_text() == "data"


def test_unix_errors(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "s"
    with pytest.raises(BindError) as caught:
        listen(Bind(address=Address("unix", str(missing))), reuseport=False)
    assert str(caught.value) == f"cannot bind UNIX socket (No such file or directory) [{missing}]"
    with pytest.raises(BindError, match="path too long, limit is"):
        listen(Bind(address=Address("unix", str(tmp_path / ("x" * 120)))), reuseport=False)


def test_abstract() -> None:
    name = f"forkproxy-test-{os.getpid()}"
    bind = Bind(address=Address("abns", name))
    with listen(bind, reuseport=False) as lsock:
        assert lsock.getsockname() == (b"\0" + name.encode()).ljust(108, b"\0")  # as HAProxy pads it
        exchange(lsock)
        with listen(Bind(address=Address("abnsz", name)), reuseport=False) as exact:
            assert exact.getsockname() == b"\0" + name.encode()
            exchange(exact, Address("abnsz", name))
        with pytest.raises(BindError) as caught:
            listen(bind, reuseport=False)
        assert str(caught.value) == f"cannot bind UNIX socket (Address already in use) [abns@{name}]"


# -- inherited


def inherited(fd: int | str) -> Bind:
    return Bind(address=Address("fd", str(fd)))


def test_inherited_socket_is_taken_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as origin:
        fd = os.dup(origin.fileno())
        os.set_inheritable(fd, True)
        with listen(inherited(fd), reuseport=False) as lsock:
            assert lsock.fileno() == fd and not lsock.get_inheritable() and lsock.gettimeout() == 0.0
            client, server = connected(lsock)
            assert server.getsockopt(TCP, socket.TCP_NODELAY)
            client.close()
            server.close()
        with pytest.raises(OSError):
            os.fstat(fd)


def test_inherited_may_be_bound_only() -> None:
    with socket.socket() as origin:
        origin.bind(("127.0.0.1", 0))
        with listen(inherited(os.dup(origin.fileno())), reuseport=False) as lsock:
            exchange(lsock)


def test_inherited_must_fit() -> None:
    with socket.socket() as plain:
        with pytest.raises(BindError, match=rf"cannot use inherited socket \(neither bound nor listening\) for \[fd@{plain.fileno()}\]"):
            listen(inherited(plain.fileno()), reuseport=False)
        os.fstat(plain.fileno())  # it is still its owner's
    a, b = socket.socketpair()
    with a, b, pytest.raises(BindError, match="neither bound nor listening"):
        listen(inherited(a.fileno()), reuseport=False)
    with socket.socket(type=socket.SOCK_DGRAM) as dgram, pytest.raises(BindError, match="not a stream socket"):
        listen(inherited(dgram.fileno()), reuseport=False)
    with listen(V4, reuseport=False) as other:
        client, server = connected(other)
        with client, server, pytest.raises(BindError, match="Invalid argument"):
            listen(inherited(client.fileno()), reuseport=False)
    r, w = os.pipe()
    with pytest.raises(BindError, match="not a socket"):
        listen(inherited(r), reuseport=False)
    os.close(r)
    os.close(w)
    with pytest.raises(BindError, match="Bad file descriptor"):
        listen(inherited(r), reuseport=False)
    with pytest.raises(BindError, match="not a descriptor number"):
        listen(inherited("x"), reuseport=False)


# -- dialling


def test_refused_connection_shows_in_the_outcome() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets the port
        try:
            sock, done = dial(Address("ipv4", "127.0.0.1", holder.getsockname()[1]))
        except ConnectionRefusedError:
            return
        with sock:
            assert not done
            wait(sock, select.POLLOUT)
            assert sockets.outcome(sock) == errno.ECONNREFUSED


def test_dial_unix_and_its_full_backlog(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with listen(Bind(address=Address("unix", path)), reuseport=False, backlog=1) as lsock:
        client, done = dial(Address("unix", path))
        assert done
        others = [client]
        with pytest.raises(BlockingIOError):  # no event would ever tell: an error at once
            for _ in range(5):
                others.append(dial(Address("unix", path))[0])
        for sock in others:
            sock.close()
        found = accept(lsock)
        assert found is not None
        found[0].close()
    with pytest.raises(ConnectionRefusedError):
        dial(Address("unix", path))


def test_dial_from_a_source_address_and_device() -> None:
    with listen(Bind(address=Address("ipv4", "0.0.0.0")), reuseport=False) as lsock:
        there = Address("ipv4", "127.0.0.1", lsock.getsockname()[1])
        client, server = connected(lsock, there, source=Address("ipv4", "127.0.0.9"), interface="lo", user_timeout_ms=3000, quickack=False)
        with client, server:
            assert server.getpeername()[0] == "127.0.0.9"
            assert client.getsockopt(TCP, socket.TCP_USER_TIMEOUT) == 3000
            assert client.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"


def test_dial_with_a_source_of_no_use() -> None:
    with none_left(), pytest.raises(OSError, match="Cannot assign requested address"):
        dial(Address("ipv4", "127.0.0.1", 9), source=Address("ipv4", "192.0.2.1"))


def test_dial_fast_open_sends_with_the_first_bytes() -> None:
    with listen(replace(V4, tfo=True), reuseport=False) as lsock:
        client, done = dial(dial_of(lsock), tfo=True)
        with client:
            assert isinstance(done, bool)
            client.send(b"hello")
            wait(lsock, select.POLLIN)
            found = accept(lsock)
            assert found is not None
            with found[0] as server:
                wait(server, select.POLLIN)
                assert server.recv(10) == b"hello"


def test_dial_datagrams(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        sock, done = dial(Address("ipv4", "127.0.0.1", server.getsockname()[1], kind="dgram"))
        with sock:
            assert done
            sock.send(b"line")
            assert server.recv(10) == b"line"


# -- options of a connection


def test_keepalive_on_a_listener_holds_for_what_it_accepts() -> None:
    with listen(V4, reuseport=False) as lsock:
        sockets.keepalive(lsock, count=4, idle_s=30, interval_s=5)
        client, server = connected(lsock)
        with client, server:
            assert server.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert [server.getsockopt(TCP, o) for o in (socket.TCP_KEEPCNT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)] == [4, 30, 5]
            assert not client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            sockets.quickack_off(server)
            assert server.getsockopt(TCP, socket.TCP_QUICKACK) == 0


def test_unix_sockets_take_the_options_that_make_no_sense_for_them(tmp_path: Path) -> None:
    a, b = socket.socketpair()
    with a, b:
        sockets.keepalive(a)
        sockets.quickack_off(a)
        sockets.silent_drop(a)
        assert sockets.half_close(a)
        assert b.recv(1) == b""


def test_half_close_lets_the_other_direction_flow() -> None:
    with listen(V4, reuseport=False) as lsock:
        client, server = connected(lsock)
        with client, server:
            assert sockets.half_close(client)
            wait(server, select.POLLIN)
            assert server.recv(1) == b""
            server.send(b"rest")
            wait(client, select.POLLIN)
            assert client.recv(10) == b"rest"
            sockets.reset_on_close(server)
            server.close()
            wait(client, select.POLLIN)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            assert not sockets.half_close(client)


@net_admin
def test_silent_drop_tells_the_peer_nothing() -> None:
    with listen(V4, reuseport=False) as lsock:
        client, server = connected(lsock)
        with client:
            sockets.silent_drop(server)
            server.close()
            with pytest.raises(BlockingIOError):
                client.recv(1)
            assert client.getsockopt(TCP, socket.TCP_INFO, 1) == b"\x01"  # established


def test_silent_drop_by_a_reset_with_a_short_life() -> None:
    with listen(V4, reuseport=False) as lsock:
        client, server = connected(lsock)
        with client:
            sockets.silent_drop(server, rst_ttl=3)
            assert server.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 3
            assert server.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 0)
            server.close()
            wait(client, select.POLLIN)
            with pytest.raises(ConnectionResetError):  # loopback is no hop
                client.recv(1)


def test_accept_hides_lost_connections_and_shows_exhaustion() -> None:
    class Fake:
        def __init__(self, code: int) -> None:
            self.code = code

        def _accept(self) -> Any:
            raise OSError(self.code, os.strerror(self.code))

    for code in (errno.EAGAIN, errno.ECONNABORTED, errno.EPROTO, errno.EHOSTUNREACH):
        assert accept_as(Fake(code), (2, 1, 6)) is None  # type: ignore[arg-type]
    for code in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
        with pytest.raises(OSError) as caught:
            accept_as(Fake(code), (2, 1, 6))  # type: ignore[arg-type]
        assert caught.value.errno == code
