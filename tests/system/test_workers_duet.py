"""Three workers beside haproxy's three threads, with the same file: what concerns a server or a client is the same whoever serves."""

from __future__ import annotations

import csv
import io
import re
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from forkproxy.wire.proxy_protocol import parse
from tests.ports import free_ports
from tests.system.conftest import eventually, listens
from tests.system.duet import BESIDE_HAPROXY, Origin, Side, read_all
from tests.system.scripts import command

pytestmark = BESIDE_HAPROXY

HEAD = """
global
  nbthread 3
  max-spread-checks 50ms
  stats socket {dir}/{name}.sock level admin
  log {log} local0
defaults
  mode http
  log global
  timeout connect 2s
  timeout client 20s
  timeout server 20s
  retries 0
"""


def serve(sock: socket.socket) -> None:
    """A check gets nothing, a request the status that its path ends with, anything else itself; that stays open."""
    data = sock.recv(65536)
    if data.startswith(b"GET "):
        status = data.split(b" ", 2)[1][-3:]
        sock.sendall(b"HTTP/1.1 %b X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
    elif data:
        sock.sendall(data)
        while sock.recv(65536):
            pass


def cli(side: Side, directory: Path, words: str) -> str:
    return command(directory / f"{side.name}.sock", words).decode().strip()


def stat(side: Side, directory: Path, server: str, column: str) -> str:
    """A column of "show stat" of ``backend/server``."""
    rows = csv.DictReader(io.StringIO(cli(side, directory, "show stat").removeprefix("# ")))
    return next(row[column] for row in rows if f"{row['pxname']}/{row['svname']}" == server)


def get(port: int, path: str, fields: str = "", method: str = "GET") -> bytes:
    """The answer to a request on a connection of its own: some worker's."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: t\r\n{fields}Connection: close\r\n\r\n".encode())
        return read_all(sock)


def beside(directory: Path, text: str, words: tuple[str, ...], story: Callable[[Side, dict[str, int]], Any]) -> tuple[Any, Any]:
    """What the story comes to with haproxy and with forkproxy; in the text of each the ``words`` become ports of its own."""
    told = []
    for name in ("haproxy", "forkproxy"):
        ports = dict(zip(words, free_ports(len(words)) if words else (), strict=True))
        filled = text
        for word, port in ports.items():
            filled = filled.replace(word, str(port))
        (directory / f"{name}.sock").unlink(missing_ok=True)
        with Side(directory, filled, name, workers=True) as side:
            side.origin.begin(serve)
            eventually(lambda path=directory / f"{name}.sock": listens(path), "the runtime CLI")  # type: ignore[misc]
            told.append(story(side, ports))
    return told[0], told[1]


LIFE = HEAD + """
  default-server inter 100s fastinter 100s downinter 100s rise 2 fall 3 observe layer7 error-limit 6
frontend f
  bind 127.0.0.1:{port}
  no log
  use_backend %[path,field(2,/)]
frontend t
  mode tcp
  option tcplog
  bind 127.0.0.1:DOWN
  default_backend tb
backend tb
  mode tcp
  server s 127.0.0.1:{origin} check observe none on-marked-down shutdown-sessions
frontend u
  mode tcp
  option tcplog
  bind 127.0.0.1:UP
  default_backend ub
backend ub
  mode tcp
  server main 127.0.0.1:{origin} disabled observe none on-marked-up shutdown-backup-sessions
  server spare 127.0.0.1:{origin} observe none backup
backend near
  server s 127.0.0.1:{origin} track tb/s observe none
backend far
  server s 127.0.0.1:{origin} track near/s observe none
backend fail-check
  server s 127.0.0.1:{origin} check on-error fail-check
backend sudden-death
  server s 127.0.0.1:{origin} check on-error sudden-death
backend mark-down
  server s 127.0.0.1:{origin} check on-error mark-down
backend fastinter
  option tcp-check
  tcp-check connect
  tcp-check send probe
  server s 127.0.0.1:{origin} check on-error fastinter fastinter 50ms
backend connections
  server s 127.0.0.1:{dead} check port {origin} observe layer4 on-error mark-down
"""
JUDGED = ("fail-check", "sudden-death", "mark-down", "fastinter", "connections")


def test_servers_that_go_take_their_sessions_and_traffic_judges_them(tmp_path: Path) -> None:
    def story(side: Side, ports: dict[str, int]) -> dict[str, object]:
        seen: dict[str, object] = {}
        for name in ("tb", *JUDGED):
            eventually(lambda name=name: stat(side, tmp_path, f"{name}/s", "check_status")[2:] == "OK", f"a check of {name}")  # type: ignore[misc]

        with ExitStack() as stack:
            sessions: dict[str, list[socket.socket]] = {}
            for which, port in ports.items():
                sessions[which] = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(9)]
                for sock in sessions[which]:
                    sock.sendall(b"x")
                    assert sock.recv(1) == b"x"
            cli(side, tmp_path, "set server tb/s health down")
            seen["ended when it went down"] = [read_all(sock) for sock in sessions["DOWN"]]
            seen["those who track it"] = [stat(side, tmp_path, f"{name}/s", "status") for name in ("tb", "near", "far")]
            seen["their answers"] = Counter(get(side.port, f"/{name}/200")[9:12] for name in ("near", "far") for _ in range(12))
            cli(side, tmp_path, "set server tb/s health up")
            seen["up again"] = Counter(get(side.port, f"/{name}/200")[9:12] for name in ("near", "far") for _ in range(12))
            cli(side, tmp_path, "set server ub/main state ready")
            seen["ended when a better one came"] = [read_all(sock) for sock in sessions["UP"]]
        seen["log"] = Counter(re.sub(r"\d+/\d+/\d+/\d+/0 0/0", "C", line) for line in side.lines(0.5, 18))

        def checks() -> int:
            return sum(spy.got == b"probe" for spy in list(side.origin.seen))

        had = checks()  # a whole one: with none but a handshake the kernel bothers no server
        for name in JUDGED:
            status = "503" if name == "connections" else "500"
            five = Counter(get(side.port, f"/{name}/500")[9:12].decode() for _ in range(5))
            assert five == {status: 5}, (name, five)
            seen[f"{name} before"] = stat(side, tmp_path, f"{name}/s", "status")
            get(side.port, f"/{name}/500")
            if name == "fastinter":
                eventually(lambda: checks() > had, "a check soon")
            else:
                eventually(lambda name=name: stat(side, tmp_path, f"{name}/s", "status") != "UP", f"{name}: the sixth error")  # type: ignore[misc]
            seen[f"{name} after"] = stat(side, tmp_path, f"{name}/s", "status")
        return seen

    theirs, ours = beside(tmp_path, LIFE, ("DOWN", "UP"), story)
    assert ours == theirs
    assert ours["ended when it went down"] == ours["ended when a better one came"] == [b""] * 9
    assert ours["those who track it"] == ["DOWN"] * 3 and ours["their answers"] == {b"503": 24} and ours["up again"] == {b"200": 24}
    judged = {name: ours[f"{name} after"] for name in JUDGED}
    assert judged == {"fail-check": "UP 2/3", "sudden-death": "UP 1/3", "mark-down": "DOWN", "fastinter": "UP", "connections": "DOWN"}
    assert {ours[f"{name} before"] for name in JUDGED} == {"UP"}


STATES = HEAD.replace("log {log} local0", "log {log} local0\n  server-state-base {dir}\n  server-state-file FILE") + """
  load-server-state-from-file global
  default-server inter 100s fastinter 100s downinter 100s rise 2 fall 3
frontend f
  bind 127.0.0.1:{port}
  no log
  default_backend b
backend b
  http-response set-header x-server %s
  server plain 127.0.0.1:ORIGIN check
  server heavy 127.0.0.1:ORIGIN check weight 10
  server drains 127.0.0.1:ORIGIN check
  server stopped 127.0.0.1:ORIGIN check
  server down 127.0.0.1:ORIGIN check
  server unchecked 127.0.0.1:ORIGIN check
  server moved 127.0.0.1:DEAD
  server enabled 127.0.0.1:ORIGIN disabled
  server light 127.0.0.1:ORIGIN weight 10
  server none 127.0.0.1:ORIGIN
backend follows
  server s 127.0.0.1:ORIGIN track b/down
"""
ORDERS = """set weight b/heavy 50%
set server b/drains state drain
set server b/stopped state maint
set server b/down health down
disable health b/unchecked
set server b/moved addr 127.0.0.2 port 8000
set server b/enabled state ready
set weight b/light 2
set weight b/none 0"""


IN_PROGRESS, CHECKED = 1, 2  # bits of srv_check_state


def known(side: Side, directory: Path) -> dict[str, list[str]]:
    """Of "show servers state" by server: address, states, weights, the last check, port. Who is not checked has no health worth telling."""
    rows = [line.split() for line in cli(side, directory, "show servers state").splitlines()[2:] if line]
    found = {}
    for row in rows:
        bits = int(row[13]) & ~IN_PROGRESS
        found[f"{row[1]}/{row[3]}"] = [*row[4:9], *row[10:12], row[12] if bits & CHECKED else "", str(bits), row[18]]
    return found


def test_states_are_written_and_read_by_each_other(tmp_path: Path) -> None:
    """ORDERS change servers while they serve; what each then tells is read by a new start of each."""

    def orders(side: Side, _ports: dict[str, int]) -> dict[str, list[str]]:
        for name in ("plain", "heavy", "drains", "stopped", "down", "unchecked"):
            eventually(lambda name=name: stat(side, tmp_path, f"b/{name}", "check_status") == "L4OK", f"a check of {name}")  # type: ignore[misc]
        for order in ORDERS.splitlines():
            cli(side, tmp_path, order)
        text = cli(side, tmp_path, "show servers state") + "\n"
        (tmp_path / f"{side.name}.states").write_text(text)
        return known(side, tmp_path)

    def used(side: Side, _ports: dict[str, int]) -> tuple[dict[str, list[str]], Counter[bytes]]:
        # The checks of this start may have begun already.
        told = {name: [*row[:5], *row[8:]] for name, row in known(side, tmp_path).items()}
        answers = Counter(get(side.port, "/200").partition(b"x-server: ")[2].partition(b"\r")[0] for _ in range(120))
        return told, answers

    origin = Origin()
    origin.begin(serve)
    text = STATES.replace("ORIGIN", str(origin.port)).replace("DEAD", str(free_ports(1)[0]))
    (tmp_path / "empty").write_text("1\n# nothing\n")
    theirs, ours = beside(tmp_path, text.replace("FILE", "empty"), (), orders)
    for writer in ("haproxy", "forkproxy"):
        theirs, ours = beside(tmp_path, text.replace("FILE", f"{writer}.states"), (), used)
        assert ours[0] == theirs[0], writer
        assert ours[1].keys() == theirs[1].keys(), writer
    origin.close()


MODES = {
    "insert": "insert indirect nocache", "prefix": "prefix", "rewrite": "rewrite", "dynamic": "insert dynamic", "keeps": "insert preserve",
    "idle": "insert indirect maxidle 100", "life": "insert indirect maxlife 1000", "times": "insert maxidle 100 maxlife 1000",
    "safe": "insert postonly httponly secure domain .a.b attr SameSite=None",
}  # fmt: skip
COOKIES = HEAD.replace("retries 0", "retries 1") + """
frontend f
  bind 127.0.0.1:{port}
  no log
  use_backend %[path,field(2,/)]
frontend r
  mode tcp
  no log
  bind 127.0.0.1:REMOTE
  tcp-request inspect-delay 5s
  tcp-request content accept if RDP_COOKIE
  default_backend rb
backend rb
  mode tcp
  persist rdp-cookie
  server one 127.0.0.1:ONE
  server two 127.0.0.1:TWO
""" + "".join(f"""
backend {name}
  cookie SRV {mode}
  dynamic-cookie-key secret
  http-response set-header x-server %s
  server one 127.0.0.1:ONE {'' if name == 'dynamic' else 'cookie c1'}
  server two 127.0.0.1:TWO {'' if name == 'dynamic' else 'cookie c2'}
""" for name, mode in MODES.items()) + """
backend exceptions
  cookie SRV insert indirect
  force-persist if {{ path /exceptions/forced/200 }}
  ignore-persist if {{ path /exceptions/ignored/200 }}
  http-response set-header x-server %s
  server one 127.0.0.1:ONE cookie c1
  server two 127.0.0.1:TWO cookie c2
  server off 127.0.0.1:TWO cookie c3 disabled
"""


def field_of(answer: bytes, name: bytes) -> bytes:
    found = re.search(rb"(?mi)^%b: (.*)\r$" % name, answer)
    return found[1] if found else b""


def tells_port(sock: socket.socket) -> None:
    """A server of an application that has a cookie of that name, too; and of another protocol, where it says who it is."""
    data = sock.recv(65536)
    if data.startswith((b"GET ", b"POST ")):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: SRV=app\r\nConnection: close\r\n\r\n")
    elif data:
        sock.sendall(b"%d" % sock.getsockname()[1])


def test_cookies_bring_clients_back_whoever_serves_them(tmp_path: Path) -> None:
    servers = [Origin(), Origin()]
    for one in servers:
        one.begin(tells_port)
    ports = {one.port: name for one, name in zip(servers, ("one", "two"), strict=True)}
    text = COOKIES.replace("ONE", str(servers[0].port)).replace("TWO", str(servers[1].port))

    def story(side: Side, own: dict[str, int]) -> dict[str, object]:
        seen: dict[str, object] = {}
        for name in MODES:
            first, later = set(), set()
            for _ in range(12):
                answer = get(side.port, f"/{name}/", method="POST")
                server, cookies = field_of(answer, b"x-server"), re.findall(rb"(?mi)^set-cookie: (.*)\r$", answer)
                first.add((server, *(re.sub(rb"\|[\w+/]{5}", b"|T", cookie) for cookie in cookies)))
                value = cookies[-1].partition(b";")[0].decode()
                for _ in range(4):
                    answer = get(side.port, f"/{name}/", f"Cookie: a=b; {value}\r\n")
                    cookies = re.findall(rb"(?mi)^set-cookie: (.*)\r$", answer)
                    same = field_of(answer, b"x-server") == server
                    times = b"|" in b"".join(cookies)  # they are written anew when they are a second old
                    later.add((same, *(() if times else cookies)))
            seen[name] = first, later
        for name, value in (("forced", "c3"), ("ignored", "c1"), ("plain", "c1"), ("plain", "c3")):
            answers = [get(side.port, f"/exceptions/{name}/200", f"Cookie: SRV={value}\r\n") for _ in range(12)]
            seen[f"{name} {value}"] = {field_of(answer, b"x-server") for answer in answers}
        for one in servers:
            cookie = b"Cookie: msts=%d.%d.0000\r\n" % (int.from_bytes(bytes([127, 0, 0, 1]), "little"), socket.htons(one.port))
            first_packet = b"\x03\x00\x00%c%c\xe0\x00\x00\x00\x00\x00" % (len(cookie) + 19, len(cookie) + 14) + cookie
            first_packet += b"\x01\x00\x08\x00\x00\x00\x00\x00"
            came = set()
            for _ in range(12):
                with socket.create_connection(("127.0.0.1", own["REMOTE"]), 10) as sock:
                    sock.sendall(first_packet)
                    came.add(ports[int(read_all(sock))])
            seen[f"rdp {ports[one.port]}"] = came
        return seen

    theirs, ours = beside(tmp_path, text, ("REMOTE",), story)
    for name in ours:
        assert ours[name] == theirs[name], name
    assert (ours["forced c3"], ours["ignored c1"], ours["plain c1"]) == ({b"off"}, {b"one", b"two"}, {b"one"})
    assert (ours["rdp one"], ours["rdp two"]) == ({"one"}, {"two"})
    stay = {name: {same for same, *_ in ours[name][1]} for name in MODES}
    assert stay == {name: {True, name != "keeps"} for name in MODES}, "an application's own cookie, where it is kept, names nobody"
    for one in servers:
        one.close()


HEADERS = ("crc32c", "unique-id", "crc32c,unique-id")
GREETS = HEAD + "".join(f"""
listen l{number}
  mode tcp
  no log
  bind 127.0.0.1:PORT{number}
  unique-id-format %[str(an_id)]
  server s 127.0.0.1:{{origin}} send-proxy-v2 proxy-v2-options {options}
""" for number, options in enumerate(HEADERS)) + """
frontend f
  bind 127.0.0.1:{port}
"""


def test_headers_of_the_proxy_protocol_tell_more(tmp_path: Path) -> None:
    def story(_side: Side, ports: dict[str, int]) -> list[bytes]:
        seen = []
        for port in ports.values():
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                sock.sendall(b"x")
                got = sock.recv(4096)  # the header, sent back
                own = sock.getsockname()[1].to_bytes(2, "big")
            parsed = parse(got)  # which checks the sum
            assert parsed is not None
            got = got[: parsed[1]].replace(own, b"<p>").replace(port.to_bytes(2, "big"), b"<P>")
            seen.append(re.sub(rb"\x03\x00\x04....", b"<sum>", got, flags=re.S))
        return seen

    theirs, ours = beside(tmp_path, GREETS, ("PORT0", "PORT1", "PORT2"), story)
    assert ours == theirs
    assert [b"<sum>" in got for got in ours] == [True, False, True] and [b"an_id" in got for got in ours] == [False, True, True]
