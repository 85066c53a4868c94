"""Termination states (manual 8.5) beside Debian's haproxy: one exchange for each that can be reached, its timers and counts in the line."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from functools import partial
from pathlib import Path

import pytest

from tests.system.counted import Counted
from tests.system.duet import BESIDE_HAPROXY, Script, Seen, read_all, read_head, read_until
from tests.system.scripts import (
    GET,
    LAST,
    OK,
    Case,
    Different,
    answer,
    ask,
    differences,
    hangs,
    hole,
    last,
    leaves,
    refuses,
    reset,
    told,
)  # fmt: skip

pytestmark = BESIDE_HAPROXY

DEFAULTS = """
global
  log {log} local0
  stats socket {dir}/{name}.sock level admin
defaults
  mode MODE
  log global
  option FORMATlog
  timeout connect 300ms
  timeout client 500ms
  timeout server 400ms
  timeout queue 150ms
  timeout http-request 300ms
  timeout http-keep-alive 200ms
  timeout tunnel 300ms
  timeout client-fin 150ms
  timeout server-fin 150ms
  timeout tarpit 200ms
  retries 0
  balance roundrobin
"""

HTTP = """
frontend fe
  bind 127.0.0.1:{port}
  http-request deny if {{ path /deny }}
  http-request return status 200 if {{ path /return }}
  http-request redirect location / if {{ path /redirect }}
  http-request tarpit if {{ path /tarpit }}
  http-request reject if {{ path /reject }}
  http-response deny if {{ status 210 }}
  http-response return status 200 if {{ status 211 }}
  http-response redirect location / if {{ status 212 }}
  use_backend none if {{ path /none }}
  use_backend dead if {{ path /dead }}
  use_backend hole if {{ path /hole }}
  use_backend down if {{ path /down }}
  use_backend nowhere if {{ path /nowhere }}
  use_backend one if {{ path_beg /one }}
  use_backend slow if {{ path_beg /slow }}
  use_backend abort if {{ path_beg /abort }}
  use_backend patient if {{ path_beg /patient }}
  use_backend retried if {{ path_beg /retried }}
  use_backend elsewhere if {{ path /elsewhere }}
  use_backend killed if {{ path_beg /killed }}
  use_backend down-soon if {{ path_beg /went-down }}
  use_backend up-soon if {{ path_beg /came-up }}
  default_backend be
backend be
  server s 127.0.0.1:{origin}
backend none
backend dead
  server s 127.0.0.1:{dead}
backend hole
  server s 127.0.0.1:HOLE
backend down
  server s 127.0.0.1:{origin} disabled
backend nowhere
  source 198.51.100.7
  server s 127.0.0.1:{origin}
backend one
  option abortonclose
  timeout server 2s
  server s 127.0.0.1:{origin} maxconn 1
backend slow
  timeout server 3s
  server s 127.0.0.1:{origin}
backend abort
  option abortonclose
  server s 127.0.0.1:{origin}
backend patient
  option abortonclose
  timeout connect 2s
  server s 127.0.0.1:HOLE
backend killed
  timeout server 3s
  server s 127.0.0.1:{origin}
  server t 127.0.0.1:{origin} maxconn 1 weight 0
backend down-soon
  timeout server 3s
  server s 127.0.0.1:{origin} on-marked-down shutdown-sessions
backend up-soon
  timeout server 3s
  server s 127.0.0.1:{origin} disabled on-marked-up shutdown-backup-sessions
  server b 127.0.0.1:{origin} backup
backend elsewhere
  server s 127.0.0.1:{origin} redir http://mirror.example
backend retried
  retries 2
  option redispatch
  server dead 127.0.0.1:{dead}
  server dead2 127.0.0.1:{dead}
"""

TCP = """
frontend fe
  bind 127.0.0.1:{port}
  tcp-request inspect-delay 200ms
  tcp-request content reject if {{ req.payload(0,4) -m str deny }}
  use_backend none if {{ req.payload(0,4) -m str none }}
  use_backend dead if {{ req.payload(0,4) -m str dead }}
  use_backend hole if {{ req.payload(0,4) -m str hole }}
  use_backend down if {{ req.payload(0,4) -m str down }}
  use_backend nowhere if {{ req.payload(0,4) -m str nowh }}
  use_backend one if {{ req.payload(0,4) -m str one1 }}
  use_backend patient if {{ req.payload(0,4) -m str pati }}
  default_backend be
backend be
  tcp-response inspect-delay 150ms
  tcp-response content reject if {{ res.payload(0,4) -m str deny }}
  server s 127.0.0.1:{origin}
backend none
backend dead
  server s 127.0.0.1:{dead}
backend hole
  server s 127.0.0.1:HOLE
backend down
  server s 127.0.0.1:{origin} disabled
backend nowhere
  source 198.51.100.7
  server s 127.0.0.1:{origin}
backend one
  option abortonclose
  server s 127.0.0.1:{origin} maxconn 1
backend patient
  option abortonclose
  timeout connect 2s
  server s 127.0.0.1:HOLE
"""

BIG = b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n"
PART = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PAUSE_S = 0.08
ends = partial(leaves, wait_s=PAUSE_S)


def breaks(raw: bytes, until: bytes = b"") -> Script:
    """A client that resets after it saw ``until``, or a moment after it asked."""

    def script(sock: socket.socket) -> bytes:
        sock.sendall(raw)
        if until:
            read_until(sock, until)
        else:
            time.sleep(PAUSE_S)
        reset(sock)
        return b""

    return script


def floods(first: bytes) -> Script:
    """A server that sends more than anybody takes."""

    def script(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(first)
        with contextlib.suppress(OSError):
            for _ in range(600):
                sock.sendall(b"x" * 50000)

    return script


def deaf(raw: bytes) -> Script:
    """A client that asks and never reads."""

    def script(sock: socket.socket) -> bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(raw)
        time.sleep(1.4)  # longer than the balancer's patience, which has to run out for real here
        return b""

    return script


def sends(raw: bytes, then: str = "wait") -> Script:
    """A server that reads once, sends ``raw``, then waits for the end, closes, or resets."""

    def script(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(raw)
        if then == "wait":
            while sock.recv(65536):
                pass
        elif then == "zz\r\n":
            time.sleep(PAUSE_S)
            sock.sendall(then.encode())
            sock.recv(65536)
        elif then == "reset":
            time.sleep(PAUSE_S)
            reset(sock)

    return script


def stumbles(first: bytes, then: bytes) -> Script:
    """A client that sends something wrong a moment later."""

    def script(sock: socket.socket) -> bytes:
        sock.sendall(first)
        time.sleep(PAUSE_S)
        sock.sendall(then)
        return read_all(sock)

    return script


def late(sock: socket.socket) -> None:
    """A server that answers a moment later than others."""
    read_head(sock)
    time.sleep(2 * PAUSE_S)
    sock.sendall(OK)


def resets(sock: socket.socket) -> None:
    sock.recv(65536)
    reset(sock)


def beside(raw: bytes, client: Script) -> Script:
    """``client`` while another connection to the same place holds a slot with ``raw``."""

    def script(sock: socket.socket) -> object:
        with socket.create_connection(sock.getpeername(), timeout=8) as holder:
            holder.sendall(raw)
            time.sleep(PAUSE_S)
            got = client(sock)
            time.sleep(PAUSE_S / 2)  # the line is written before the holder ends
            return got

    return script


def stays(raw: bytes) -> Script:
    """A client that asks, reads to the end, and does not close."""

    def script(sock: socket.socket) -> bytes:
        sock.sendall(raw)
        got = read_all(sock)
        time.sleep(0.3)  # longer than timeout client-fin
        return got

    return script


def ignores(raw: bytes) -> Script:
    """A server that answers and does not see its client's end."""

    def script(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(raw)
        time.sleep(0.6)  # longer than timeout server-fin

    return script


def tunnels(sock: socket.socket) -> None:
    read_head(sock)
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
    while data := sock.recv(65536):
        sock.sendall(data)


UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"
HALF = b"POST /%b HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf"

CHUNKY = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

STATES: dict[str, tuple[str, dict[str, Case]]] = {
    "http": (
        HTTP,
        {
            "-- normal": (last(), answer(OK), 1),
            "-- tunnel ended": (ends(UPGRADE), tunnels, 1),
            "-- until close": (ask(GET % b"/"), sends(b"HTTP/1.1 200 OK\r\n\r\nend", "close"), 1),
            "CR nothing but the end": (leaves(b""), answer(OK), 1),
            "CR a part": (ends(b"GET / HT"), answer(OK), 1),
            "CR reset": (breaks(b"GET / HT"), answer(OK), 1),
            "cR nothing": (read_all, answer(OK), 1),
            "cR a part": (ask(b"GET / HT"), answer(OK), 1),
            "cR second request": (ask(GET % b"/" + b"GET /2 HT"), answer(OK), 2),
            "PR bad": (ask(b"BAD\r\n\r\n"), answer(OK), 1),
            "PR denied": (last(b"/deny"), answer(OK), 1),
            "PR rejected": (last(b"/reject"), answer(OK), 1),
            "PT": (last(b"/tarpit"), answer(OK), 1),
            "CT the client broke": (breaks(LAST % (b"/tarpit", b"")), answer(OK), 1),
            "PT the client left": (ends(LAST % (b"/tarpit", b"")), answer(OK), 1),
            "LR return": (last(b"/return"), answer(OK), 1),
            "LC": (last(b"/elsewhere"), answer(OK), 1),
            "LH return": (last(), answer(b"HTTP/1.1 211 X\r\nContent-Length: 0\r\n\r\n"), 1),
            "LH redirect": (last(), answer(b"HTTP/1.1 212 X\r\nContent-Length: 0\r\n\r\n"), 1),
            "PR bad chunk with the head": (ask(CHUNKY + b"zz\r\n"), hangs, 1),
            "PH bad chunk later": (stumbles(CHUNKY + b"1\r\na\r\n", b"zz\r\n"), hangs, 1),
            "cH upload": (ask(HALF % b""), hangs, 1),
            "LR redirect": (last(b"/redirect"), answer(OK), 1),
            "SC no server": (last(b"/none"), answer(OK), 1),
            "SC down": (last(b"/down"), answer(OK), 1),
            "SC refused": (last(b"/dead"), answer(OK), 1),
            "SC refused, redispatched": (last(b"/retried"), answer(OK), 1),
            "sC": (last(b"/hole"), answer(OK), 1),
            "RC": (last(b"/nowhere"), answer(OK), 1),
            "CC": (ends(LAST % (b"/patient", b"")), answer(OK), 1),
            "sQ": (beside(LAST % (b"/one", b""), last(b"/one/2")), hangs, 1),
            "CQ": (beside(LAST % (b"/one", b""), ends(LAST % (b"/one/2", b""), wait_s=0.03)), hangs, 1),
            "CH": (ends(LAST % (b"/abort", b"")), hangs, 1),
            "CH reset": (breaks(LAST % (b"/abort", b"")), hangs, 1),
            "SH closed": (last(), refuses, 1),
            "SH reset": (last(), resets, 1),
            "SH half a head": (last(), sends(b"HTTP/1.1 200 OK\r\nCont", "close"), 1),
            "sH": (last(), hangs, 1),
            "PH bad": (last(), answer(b"WHAT\r\n\r\n"), 1),
            "PH denied": (last(), answer(b"HTTP/1.1 210 X\r\nContent-Length: 0\r\n\r\n"), 1),
            "CD upload": (breaks(HALF % b"slow"), hangs, 1),
            "CD upload ended": (ends(HALF % b"slow"), hangs, 1),
            "CD download": (breaks(LAST % (b"/slow", b""), b"x" * 1000), floods(BIG), 1),
            "cD client-fin": (stays(UPGRADE), sends(b"HTTP/1.1 101 S\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n", "close"), 1),
            "sD server-fin": (ends(UPGRADE), ignores(b"HTTP/1.1 101 S\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"), 1),
            "CD tunnel": (breaks(UPGRADE, b"\r\n\r\n"), tunnels, 1),
            "cD tunnel": (ask(UPGRADE), tunnels, 1),
            "SD closed": (last(), sends(PART, "close"), 1),
            "SD reset": (last(), sends(PART, "reset"), 1),
            "sD": (last(), sends(PART), 1),
            "sD chunked": (last(), sends(CHUNKED + b"5\r\nab"), 1),
            "PH bad chunk with the head": (last(), sends(CHUNKED + b"1\r\na\r\nzz\r\n"), 1),
            "PD bad chunk": (last(), sends(CHUNKED + b"1\r\na\r\n", "zz\r\n"), 1),
            "-- queued": (beside(LAST % (b"/one", b""), last(b"/one/2")), late, 2),
            "cD deaf": (deaf(LAST % (b"/slow", b"")), floods(BIG), 1),
        },
    ),
    "tcp": (
        TCP,
        {
            "-- normal": (ends(b"echo"), sends(b"ok", "close"), 1),
            "PR rejected": (ask(b"deny"), sends(b"ok"), 1),
            "PD answer rejected": (ask(b"echo"), sends(b"deny"), 1),
            "CR reset": (breaks(b"ab"), sends(b"ok"), 1),
            "SC none": (ask(b"none"), sends(b"ok"), 1),
            "SC refused": (ask(b"dead"), sends(b"ok"), 1),
            "SC down": (ask(b"down"), sends(b"ok"), 1),
            "sC": (ask(b"hole"), sends(b"ok"), 1),
            "RC": (ask(b"nowh"), sends(b"ok"), 1),
            "CC": (ends(b"pati"), sends(b"ok"), 1),
            "sQ": (beside(b"one1", ask(b"one1")), sends(b"ok"), 1),
            "CQ": (beside(b"one1", ends(b"one1", wait_s=0.03)), sends(b"ok"), 1),
            "cD": (ask(b"echo"), sends(b"ok"), 1),
            "-- after the server's end": (ask(b"echo"), sends(b"ok", "close"), 1),
            "-- after the client's end": (ends(b"echo"), sends(b"ok"), 1),
            "cD client-fin": (stays(b"echo"), sends(b"ok", "close"), 1),
            "sD server-fin": (ends(b"echo"), ignores(b"ok"), 1),
            "SD": (ask(b"echo"), sends(b"ok", "reset"), 1),
            "CD": (breaks(b"echo", b"ok"), sends(b"ok"), 1),
            "cD deaf": (deaf(b"echo"), floods(b"ok"), 1),
        },
    ),
}

#: Where Debian's 2.6 and the 3.4 that we follow differ, or where an issue asks for more: why, and what our line must have.
DIFFERENT: dict[str, dict[str, Different]] = {
    "http": {
        "cD client-fin": ("2.6 does not wait; the manual names WebSockets among what client-fin is for", " cD"),
        "PD bad chunk": ("the manual's word for it is PD, 2.6 says SD", " PD"),
        "RC": ("2.6 calls an address that is not ours refused by the server, here it is a missing resource", " RC"),
        "PH bad chunk later": ("2.6 answers 400, in 3.4 both connections end without a word", " -1 0 - - PH"),
        "CT the client broke": ("2.6 does not see that the client left", " CT"),
        "cH upload": ("2.6 lets the server's timer speak (504), 3.4 the client's, twice", " cH"),
        "CC": ("2.6 does not see that the client left, 3.4 does", " CC"),
        "CQ": ("2.6 does not see that the client left, 3.4 does", " CQ"),
        "CH": ("2.6 does not see that the client left, 3.4 does", " CH"),
        "CH reset": ("2.6 does not see that the client left, 3.4 does", " CH"),
    },
    "tcp": {
        "RC": ("2.6 calls an address that is not ours refused by the server, here it is a missing resource", " RC"),
        "CR reset": ("2.6 still names the backend that it would have chosen", " CR"),
    },
}

#: the line of the connection that only holds a slot; 3.4 sees it end, 2.6 does not
HOLDER = ' CH-- 1/1/0/0/0 0/0 "GET /one HTTP/1.1"'


#: What is counted differently, by title, or "" for all: (proxy, server, columns) and why. "*" is every one.
UNEQUAL: dict[str, dict[str, list[tuple[str, str, str, str]]]] = {
    "http": {
        "": [("*", "*", "bin bout", "2.6 counts what its internal form of a message weighs")],
        "SH reset": [("be", "*", "eresp", "2.6 counts it twice")],
        "RC": [("nowhere", "s", "stot", "2.6 does not count a session that had no address to begin from")],
        "-- queued": [("one", "*", "lbtot", "2.6 does not count as chosen who waited for a server")],
        "sQ": [("one", "s", "lbtot stot", "the connection that holds the slot ends")],
        "LC": [("elsewhere", "*", "lbtot stot", "a client that is sent to a server by itself is no session of that server here")],
        "LH return": [("be", "s", "req_tot hrsp_2xx", "an answer that a rule replaces is not kept until it is counted")],
        "LH redirect": [("be", "s", "req_tot hrsp_2xx", "an answer that a rule replaces is not kept until it is counted")],
        "PH denied": [("be", "s", "req_tot hrsp_2xx", "an answer that a rule denies is not kept until it is counted")],
        "PH bad chunk with the head": [("be", "s", "req_tot hrsp_2xx", "2.6 has not looked at the head yet")],
    },
    "tcp": {
        "": [("*", "*", "bin", "2.6 counts what it read, also of who never got to a server; here it is what was sent on")],
        "RC": [("nowhere", "s", "stot", "2.6 does not count a session that had no address to begin from")],
        "CC": [("patient", "*", "cli_abrt", "2.6 does not see that the client left")],
        "CQ": [("one", "*", "cli_abrt", "2.6 does not see that the holder of the slot left")],
        "cD deaf": [("*", "*", "bout", "how much the kernel's buffers took is not the balancers' doing")],
    },
}


def uncounted(mode: str, both: Counted) -> list[str]:
    """Where the statistics of the two differ, a line each; exchanges that differ by themselves are left out."""
    wrong = []
    for title, counted in both.counted.items():
        if title in DIFFERENT[mode] or title in ALONE[mode]:
            continue
        theirs, mine = counted["haproxy"], counted["forkproxy"]
        known = UNEQUAL[mode].get("", []) + UNEQUAL[mode].get(title, [])
        for key in sorted(theirs.keys() | mine.keys()):
            proxy, server, column = key
            if theirs.get(key, 0) != mine.get(key, 0) and not any(
                of in ("*", proxy) and who in ("*", server) and column in columns.split() for of, who, columns, _ in known
            ):
                wrong.append(f"{title}: {proxy}/{server} {column}: haproxy {theirs.get(key, 0)}, forkproxy {mine.get(key, 0)}")
    return wrong


#: exchanges with a second connection whose end 2.6 does not see
ALONE = {"http": {"sQ", "CQ"}, "tcp": set()}


def rounded(seen: Seen, title: str) -> object:
    """What is compared: how much the kernel's buffers took is not the balancers' doing."""
    client, server, log = told(seen)
    return client, server, [re.sub(r" \d{6,} ", " MANY ", line) for line in log if HOLDER not in line]


@pytest.mark.parametrize("mode", STATES)
def test_same(tmp_path: Path, mode: str) -> None:
    text, cases = STATES[mode]
    text = (DEFAULTS + text).replace("MODE", mode).replace("FORMAT", mode)
    with hole() as port, Counted(tmp_path, text.replace("HOLE", str(port))) as both:

        def shown(seen: Seen, title: str) -> object:
            both.title = title
            return rounded(seen, title)

        wrong = differences(both, cases, DIFFERENT[mode], shown, lambda title: " " + title[:2], slack_s=0.2)
        both.run(*next(iter(cases.values())))  # the last one's counters are taken before the next exchange
        wrong += uncounted(mode, both)
    assert not wrong, "\n".join(wrong)
