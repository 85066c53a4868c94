"""Every column of "show stat" beside Debian's haproxy: the same traffic, ours through three workers, then all rows cell by cell."""

from __future__ import annotations

import csv
import io
import json
import re
import socket
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.system.conftest import eventually, listens
from tests.system.duet import BESIDE_HAPROXY, Script, Side, read_all
from tests.system.scripts import OK, answer, ask, command, last, leaves, refuses

pytestmark = BESIDE_HAPROXY

TEXT = """
global
  stats socket {dir}/{name}.sock level operator
  log {log} local0
  nbthread 3
  maxconn 500
  max-spread-checks 10ms
defaults
  mode http
  log global
  option httplog
  retries 1
  timeout connect 1s
  timeout client 2s
  timeout server 1s
frontend fe
  bind 127.0.0.1:{port} name main
  bind {dir}/{name}.http
  option socket-stats
  id 77
  maxconn 400
  rate-limit sessions 300
  monitor-uri /monitor
  http-request deny if {{ path /denied }}
  http-request return status 204 if {{ path /own }}
  http-response deny if {{ res.hdr(x-bad) -m found }}
  use_backend dead if {{ path /dead }}
  use_backend nobody if {{ path /nobody }}
  use_backend fails if {{ path /fails }}
  default_backend be
backend be
  balance roundrobin
  cookie SRV insert indirect nocache
  server one 127.0.0.1:{origin} cookie c1 weight 3 maxconn 20 maxqueue 9
  server two 127.0.0.1:{origin} cookie c2 disabled
  server three 127.0.0.1:{origin} backup id 90
  server checked 127.0.0.1:{dead} check inter 1h fall 1 rise 4 weight 5
  server asked 127.0.0.1:{dead} check inter 1h fall 1 agent-check agent-port {dead} agent-inter 1h observe layer4
  server follows 127.0.0.1:{origin} track be/checked
backend dead
  fullconn 70
  balance source
  option redispatch
  server gone 127.0.0.1:{dead}
backend fails
  server s 127.0.0.1:{origin} source 127.0.0.1 pool-max-conn 5
backend nobody
listen raw
  mode tcp
  option tcplog
  bind {dir}/{name}.raw
  server s 127.0.0.1:{origin}
backend orphan
  mode tcp
  server s 127.0.0.1:{origin}
"""
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
FOUND = b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
REFUSED = b"HTTP/1.1 200 OK\r\nX-Bad: 1\r\nContent-Length: 0\r\n\r\n"
SHORT = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"


def closes(raw: bytes) -> Script:
    """A server that sends ``raw`` and closes."""

    def script(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(raw)

    return script


EXCHANGES: list[tuple[Script, Script]] = [
    *((last(b"/%d" % number), answer(OK)) for number in range(6)),
    (last(b"/"), answer(NOT_FOUND)), (last(b"/"), answer(FOUND)), (last(b"/"), answer(BROKEN)), (last(b"/"), answer(REFUSED)),
    (last(b"/", b"Cookie: SRV=c1\r\n"), answer(OK)), (last(b"/", b"Cookie: SRV=c2\r\n"), answer(OK)),
    (last(b"/denied"), answer(OK)), (last(b"/own"), answer(OK)), (last(b"/dead"), answer(OK)), (last(b"/nobody"), answer(OK)),
    (last(b"/fails"), refuses), *((last(b"/fails"), closes(raw)) for raw in (b"", b"nonsense\r\n\r\n", SHORT)),
    (ask(b"GET / HTTP/1.1\r\nbad header\r\n\r\n"), answer(OK)), (leaves(b"GET / HT"), answer(OK)), (last(b"/monitor"), answer(OK)),
]  # fmt: skip

#: ages, rates, times and what depends on them: a number or nothing is compared
LOOSE = re.compile(r"rate(_max)?|(req|conn)_rate(_max)?|lastchg|lastsess|downtime|[qcrt]time(_max)?|(check|agent)_duration|b(in|out)|pid")
#: idle connections are kept by each worker
#: what 2.6 and 3.4 do not have in common, and where counting differs
DIFFERENT = {
    "algo": ("roundrobin", "random"),  # the default, since 3.3
    "intercepted": ("", "0"),  # by 3.4's manual (9.1) backends have it
    "smax": ("2", "1"),  # the client has gone, and haproxy has not seen it yet
}
IDLE = re.compile(r"srv_icur|idle_conn_cur|safe_conn_cur|need_conn_est|used_conn_cur")


def rows(side: Side, directory: Path) -> list[dict[str, str]]:
    text = command(directory / f"{side.name}.sock", "show stat").decode().removeprefix("# ")
    return list(csv.DictReader(io.StringIO(text)))


def settled(side: Side, directory: Path) -> bool:
    if not listens(directory / f"{side.name}.sock"):  # it serves already, and binds this a moment later
        return False
    found = {(row["pxname"], row["svname"]): row for row in rows(side, directory)}
    return found["be", "asked"]["agent_status"] == found["be", "asked"]["check_status"] == found["be", "checked"]["check_status"] == "L4CON"


def over(unix: Path) -> None:
    """One exchange over a unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(unix))
        sock.sendall(b"GET /raw HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 200")


def open_session(side: Side, directory: Path) -> dict[str, tuple[str, str]]:
    """How many sessions there are and were while one of them, in TCP mode, goes on."""

    def found() -> dict[str, tuple[str, str]]:
        return {row["svname"]: (row["scur"], row["stot"]) for row in rows(side, directory) if row["pxname"] == "raw"}

    side.origin.begin(read_all)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(directory / f"{side.name}.raw"))
        eventually(lambda: found()["s"][0] == "1", "a session on the server")
        return found()


#: what 2.6 gives other tags than 3.4, or than what they are (TotalBytesOut is no gauge)
TAGGED = {
    "rate", "rate_max", "DroppedLogs", "FailedResolutions", "MaxSessRate", "Memmax_bytes", "TotalBytesOut", "TotalSplicdedBytesOut",
}  # fmt: skip


class Shown(NamedTuple):
    """What a side shows: rows by CSV, what typed output and JSON say of each value that is there."""

    rows: list[dict[str, str]]
    typed: dict[str, str]
    json: dict[str, str]
    info: dict[str, str]
    open: dict[str, tuple[str, str]]


def meanings(side: Side, directory: Path) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """object and column → tags and type, by ``show stat typed`` and ``show stat json``; field → the same, by ``show info typed``."""
    path = directory / f"{side.name}.sock"
    typed = {}
    for line in command(path, "show stat typed").decode().splitlines():
        if match := re.fullmatch(r"(\w\.\d+\.\d+)\.\d+\.(\w+\.1):(\w{3})\w?:(\w+):.*", line):
            typed[f"{match[1]} {match[2]}"] = f"{match[3]} {match[4]}"
    told = {}
    for each in json.loads(command(path, "show stat json")):
        for value in each:
            who = f"{value['objType']} {value['proxyId']} {value['id']} {value['field']['name']} {value['processNum']}"
            kind = type(value["value"]["value"]).__name__
            told[who] = f"{sorted(value['tags'].values())} {value['value']['type']} {kind} {sorted(value)}"
    info = {}
    for line in command(path, "show info typed").decode().splitlines():
        if match := re.fullmatch(r"\d+\.(.*?\.1):(\w{3})\w?:(\w+):.*", line):
            info[match[1]] = f"{match[2]} {match[3]}"
    return typed, told, info


def played(side: Side, directory: Path) -> Shown:
    eventually(partial(settled, side, directory), "the first checks")
    for client, server in EXCHANGES:
        side.run(client, server, 0)
    for name in ("http", "raw"):
        side.origin.begin(answer(OK))
        over(directory / f"{side.name}.{name}")
    eventually(lambda: all(row["scur"] in ("", "0") for row in rows(side, directory)), "all streams over")
    shown = rows(side, directory), *meanings(side, directory)
    return Shown(*shown, open_session(side, directory))


def test_every_column(tmp_path: Path) -> None:
    with Side(tmp_path, TEXT, "haproxy") as reference:
        reference_shows = played(reference, tmp_path)
    with Side(tmp_path, TEXT, workers=True) as side:
        shows = played(side, tmp_path)
    theirs, ours = reference_shows.rows, shows.rows
    names = [name for name in theirs[0] if name and list(theirs[0]).index(name) < list(theirs[0]).index("-")]
    assert list(ours[0])[: len(names)] == names
    assert [(row["pxname"], row["svname"]) for row in ours] == [(row["pxname"], row["svname"]) for row in theirs]
    wrong = []
    for one, other in zip(theirs, ours, strict=True):
        for name in names:
            a, b = one[name], other[name]
            if LOOSE.fullmatch(name) or IDLE.fullmatch(name):
                a, b = ("n" if cell.lstrip("-").isdecimal() else cell for cell in (a, b))
            a, b = (re.sub(r":\d+$|.*\.(raw|http)$", "", cell) if name == "addr" else cell for cell in (a, b))
            if a != b and (name not in DIFFERENT or DIFFERENT[name] != (a, b)):
                wrong.append(f"{one['pxname']}/{one['svname']} {name}: haproxy {one[name]!r}, ours {other[name]!r}")
    assert not wrong, "\n".join(wrong)
    assert shows.open == reference_shows.open
    for what in ("typed", "json", "info"):
        one, other = getattr(reference_shows, what), getattr(shows, what)
        assert len(one) > 40, what
        modules = re.compile(r".* (ssl|h1|h2)_\w+?(\.1| 1)")  # which forkproxy has not
        differing = {key: (value, other.get(key)) for key, value in one.items() if other.get(key) != value and not modules.fullmatch(key)}
        told = {key.split(" ")[-2 if what == "json" else -1].removesuffix(".1") for key in differing}
        assert told <= TAGGED, (what, differing)
