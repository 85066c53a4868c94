"""Stick tables with several workers: counted as haproxy counts, limits that hold, tables that outlive workers and reloads."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.peers import needs
from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, ROOT, Load, Proxy, eventually, gone, listens

pytestmark = pytest.mark.system

Start = Callable[..., Proxy]
Loads = Callable[..., Load]

ALL = (
    "server_id,gpt0,gpc0,gpc0_rate(60s),conn_cnt,conn_rate(60s),conn_cur,sess_cnt,sess_rate(60s),http_req_cnt,http_req_rate(60s),"
    "http_err_cnt,http_err_rate(60s),gpc1,gpc1_rate(60s),http_fail_cnt,http_fail_rate(60s)"
)
#: fetches of all forms, rendered at the end of the rules
SHOWN = " ".join(
    f"%[{expression}]"
    for expression in (
        "sc0_http_req_cnt", "sc_http_req_rate(0)", "sc0_conn_cnt", "sc0_get_gpc0", "sc0_gpc0_rate",
        "sc0_get_gpt0",
        "sc0_http_err_cnt", "sc0_http_fail_cnt", "sc1_conn_cnt", "sc_tracked(0)", "sc_tracked(1)", "sc_tracked(2)", "sc0_conn_cnt(other)",
        "src_http_req_cnt(f)", "src_get_gpc0(f)", "src_conn_cnt(other)", "src,table_http_req_rate(f)", "src,table_gpc0(f)",
        "str(nobody),table_conn_cnt(names)", "str(nobody),in_table(names)", "path,in_table(names)", "path,table_gpc(1,names)",
        "path,table_gpt(0,names)", "path,table_gpc_rate(0,names)", "table_cnt(names)", "table_avl(names)",
        "sc_get_gpc(1,2)", "sc_get_gpt(0,2)", "path,table_server_id(names)", "int(9),table_gpc0(numbers)",
    )
)  # fmt: skip

TABLES = f"""
backend other
  stick-table type ip size 10 expire 5m store conn_cnt
backend names
  stick-table type string len 5 size 30 expire 5m store conn_cnt,gpc(3),gpt(2),gpc_rate(2,60s),http_req_cnt,server_id
backend numbers
  stick-table type integer size 10 store gpc0
backend blocks
  stick-table type binary len 4 size 10 store conn_cnt
backend tcp
  stick-table type ip size 10 expire 5m store {ALL},bytes_in_cnt
backend content
  stick-table type ip size 10 expire 5m store {ALL},bytes_in_rate(60s)
backend six
  stick-table type ipv6 size 10 expire 5m store gpc0,conn_cnt,http_req_rate(60s)
backend out
  stick-table type ip size 10 store bytes_out_cnt,bytes_out_rate(60s),bytes_in_rate(60s)
backend byaddr
  stick-table type string len 30 size 20 srvkey addr store http_req_cnt
backend all
  stick-table type ip size 10 expire 5m store {ALL}
"""

TEXT = """
global
  stats socket {directory}/{name} level admin
  {workers}
defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
  timeout http-request 300ms
  timeout tarpit 20ms
frontend f
  bind 127.0.0.1:{port}
  stick-table type ip size 10 expire 5m store ALL
  http-request track-sc0 src
  http-request track-sc0 path table names
  http-request track-sc1 src table other if {{ path_beg /o }}
  http-request track-sc2 path table names
  http-request sc-inc-gpc0(0) if {{ path_beg /inc }}
  http-request sc-inc-gpc(1,2) if {{ path_beg /inc }}
  http-request sc-set-gpt0(0) 7 if {{ path_beg /tag }}
  http-request sc-set-gpt(0,2) int(8) if {{ path_beg /tag }}
  http-request set-var(txn.x) sc0_inc_gpc0 if {{ path /twice }}
  http-request set-var(txn.x) src_inc_gpc1 if {{ path /twice }}
  http-request set-var(txn.x) sc0_clr_gpc0 if {{ path /clear }}
  http-request deny if {{ path /deny }}
  http-request return status 200 content-type text/plain lf-string "SHOWN" if !{{ path_beg /s }}
  http-response track-sc1 res.hdr(x-block) table blocks
  default_backend b
frontend c
  bind 127.0.0.1:{port2}
  tcp-request connection track-sc0 src table all
  tcp-request session track-sc1 src table other
  http-request deny if {{ path /deny }}
  http-request auth if {{ path /auth }}
  http-request track-sc2 src table six
  http-request sc-inc-gpc0(2)
  http-request tarpit if {{ path /tarpit }}
  http-request reject if {{ path /reject }}
  use_backend nobody if {{ path /nobody }}
  use_backend refused if {{ path /refused }}
  default_backend b
frontend t
  mode tcp
  bind 127.0.0.1:{port4}
  tcp-request connection track-sc0 src table tcp
  tcp-request content track-sc1 src table content
  tcp-request content track-sc2 src table out
  default_backend tb
backend nobody
backend refused
  retries 0
  server s 127.0.0.1:1
backend tb
  mode tcp
  server s1 127.0.0.1:{same}
backend b
  stick-table type string len 12 size 2 nopurge
  stick on path
  stick store-request path table byaddr
  server s1 127.0.0.1:{port3}
frontend srv
  bind 127.0.0.1:{port3}
  http-request return status 404 if {{ path /s404 }}
  http-request return status 501 if {{ path /s501 }}
  http-request return status 500 if {{ path /s500 }}
  http-request return status 200 content-type text/plain hdr X-Block abcdef string hello
""".replace("ALL", ALL).replace("SHOWN", SHOWN)

PATHS = ["/a", "/a", "/inc1", "/inc1", "/o", "/twice", "/tag", "/deny", "/s404", "/s500", "/s501", "/s", "/clear", "/inc234567", "/a"]


def ask(port: int, path: str) -> tuple[int, str]:
    """(status, body) of one request on a connection of its own, which is closed afterwards."""
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while chunk := sock.recv(65536):
            data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head[9:12] or 0), body.decode()


def cli(path: Path, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(path))
        sock.sendall(command.encode() + b"\n")
        data = b""
        while chunk := sock.recv(65536):
            data += chunk
    return data.decode()


def entries(path: Path, table: str) -> dict[str, dict[str, str]]:
    """What ``show table`` tells, without what differs by nature: addresses, ports of servers, time left."""
    found = {}
    for line in cli(path, f"show table {table}").splitlines():
        if line.startswith("0x"):
            words = dict(re.findall(r"(\S+?)=(\S*)", re.sub(r"(server_key=[\d.]+):\d+", r"\1", line)))
            found[words.pop("key")] = {k: v for k, v in words.items() if k not in ("exp", "shard")}
    return found


def exchange(ports: list[int]) -> list[object]:
    seen: list[object] = []
    for path in PATHS:
        status, body = ask(ports[0], path)
        seen.append((path, status, body if status == 200 else ""))
    for path in ("/", "/deny", "/s404", "/s500", "/auth", "/tarpit", "/reject", "/nobody", "/refused"):
        seen.append((path, ask(ports[1], path)[0]))
    with socket.create_connection(("127.0.0.1", ports[1]), 5) as sock:  # three requests of one connection
        for _ in range(3):
            sock.sendall(b"GET /s HTTP/1.1\r\nHost: h\r\n\r\n")
            while b"hello" not in sock.recv(65536):
                pass
    for port, data, waits in RAW:
        with socket.create_connection(("127.0.0.1", ports[port]), 5) as sock:
            sock.sendall(data)
            while waits and (got := sock.recv(65536)):
                seen.append((data, got[9:12]))
            if port == 3 and not data:
                time.sleep(0.05)  # a client that goes before haproxy's connection to the server stands may spare it the server's 400
    time.sleep(0.05)  # nobody tells when the connections that were left have ended
    return seen


#: (port, what is sent, whether the client waits for the end)
RAW = (
    (1, b"GARB\x01AGE\r\n\r\n", True),
    (1, b"GET /part HT", False),
    (1, b"GET /late HTTP/1.1\r\n", True),
    (1, b"", False),
    (1, b"", True),
    (1, b"POST /s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", True),
    (3, b"GET /s HTTP/1.0\r\nHost: h\r\n\r\n", True),
    (3, b"", False),
)
NAMES = ("f", "all", "tcp", "content", "other", "names", "numbers", "blocks", "six", "out", "b", "byaddr")
COMMANDS = [
    "show table nope", "show table f data.http_req_cnt gt 1000", "show table f data.nope gt 1", "show table f data.conn_cur xx 1",
    "show table f data.gpc0 gt x", "show table f key 1.2.3.4", "show table f key", "show table f foo", "set table nope key 1",
    "set table f key", "set table f key 1.2.3.4 data.foo 1", "set table f key 1.2.3.4 data.gpc0 x", "set table f key 1.2.3.4 data.gpc0 5",
    "set table numbers key x", "set table numbers key 5 data.gpc0 3", "set table blocks key abc", "clear table nope", "clear table f foo",
    "clear table", "clear table f data.gpc0 eq 5", "clear table f key 9.9.9.9", "clear table names",
]  # fmt: skip


@needs("haproxy")
def test_three_workers_count_what_haproxy_counts(start: Start, tmp_path: Path) -> None:
    theirs, ours = free_ports(4), free_ports(4)

    def text(name: str, ports: list[int], workers: str) -> str:
        numbered = dict(zip(("port", "port2", "port3", "port4"), ports, strict=True))
        return TEXT.format(directory=tmp_path, name=name, workers=workers, same=theirs[2], **numbered) + TABLES

    config = tmp_path / "theirs.cfg"
    config.write_text(text("theirs", theirs, ""))
    haproxy = subprocess.Popen(["haproxy", "-db", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        start(text("ours", ours, "nbthread 3")).ready()
        eventually(lambda: listens(tmp_path / "theirs"), "haproxy")
        expected, got = exchange(theirs), exchange(ours)
        assert got == expected
        a, b = tmp_path / "theirs", tmp_path / "ours"
        for name in NAMES:
            eventually(lambda name=name: all(e["use"] == "0" for p in (a, b) for e in entries(p, name).values()), f"{name} let go")  # type: ignore[misc]
            assert entries(b, name) == entries(a, name), name
        assert len(entries(b, "b")) == 2, "nopurge: who comes first stays"
        for command in COMMANDS:
            answers = [re.sub(r"0x\w+|exp=\d+|shard=0 |used:\d+", "", cli(path, command)).split() for path in (a, b)]
            assert answers[1] == answers[0], command
        for name in NAMES:
            assert entries(b, name) == entries(a, name), name
    finally:
        haproxy.terminate()
        haproxy.wait(5)


def block(page: str, number: int = 0) -> str:
    """A configuration of the cookbook."""
    blocks: list[str] = re.findall(r"^```haproxy\n(.*?)^```$", (ROOT / "docs" / "cookbook" / page).read_text(), re.MULTILINE | re.DOTALL)
    return blocks[number]


@pytest.mark.parametrize("workers", [1, 8])
def test_the_limit_of_the_cookbook_holds_under_load(start: Start, workers: int) -> None:
    (port,) = free_ports(1)
    server = "\nbackend site\n  http-request return status 200 content-type text/plain string ok\n"
    text = block("limits.md").partition("\nbackend site")[0].replace(":8080", f"127.0.0.1:{port}").replace("gt 100", "gt 60")
    start(f"global\n  nbthread {workers}\n{text}{server}").ready()
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(status for status, _ in pool.map(lambda _: ask(port, "/"), range(200)))
    assert statuses == {200: 60, 429: 140}


def tracking(port: int, directory: Path, more: str = "") -> str:
    return f"""
global
  nbthread 3
  stats socket {directory}/cli level admin
  hard-stop-after 5s
{DEFAULTS}
frontend f
  bind 127.0.0.1:{port}
  stick-table type ip size 10 store conn_cur,http_req_cnt
  tcp-request connection track-sc0 src
  tcp-request connection track-sc1 src table t
  http-request track-sc2 rand(50) table t
  http-request return status 200 content-type text/plain string hello
backend t
  stick-table type string size 20 store conn_cur,http_req_cnt,conn_rate(1s)
{more}
"""


def test_tables_outlive_workers_killed_under_load_and_reloads(start: Start, load: Loads, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    proxy = start(tracking(port, tmp_path)).ready()
    clients = [load(port, 3), load(port, 3, keep=False)]
    for _ in range(12):
        eventually(lambda: len(proxy.workers) == 3, "three workers")
        clients[1].more(30)
        os.kill(proxy.workers[0].pid, signal.SIGKILL)
    proxy.reload()
    assert "failed" not in proxy.events[-1], proxy.stderr
    for one in clients:
        one.stop()
    eventually(lambda: all(e["use"] == "0" for t in ("f", "t") for e in entries(tmp_path / "cli", t).values()), "everything let go")
    before = entries(tmp_path / "cli", "f")["127.0.0.1"]
    assert before["conn_cur"] == "0" and {e["conn_cur"] for e in entries(tmp_path / "cli", "t").values()} == {"0"}
    answered = sum(one.done for one in clients)
    assert answered <= int(before["http_req_cnt"]) <= answered + sum(len(one.failures) for one in clients) + 12
    assert len(entries(tmp_path / "cli", "t")) == 20
    proxy.reload(tracking(port, tmp_path, "  timeout queue 5s"))
    assert "failed" not in proxy.events[-1], proxy.stderr
    assert entries(tmp_path / "cli", "f")["127.0.0.1"] == before
    assert ask(port, "/")[0] == 200
    eventually(lambda: int(entries(tmp_path / "cli", "f")["127.0.0.1"]["http_req_cnt"]) == int(before["http_req_cnt"]) + 1, "one more")
    proxy.reload(tracking(port, tmp_path).replace("size 10 ", "size 11 "))  # another table now
    assert "failed" not in proxy.events[-1], proxy.stderr
    assert entries(tmp_path / "cli", "f") == {} and len(entries(tmp_path / "cli", "t")) == 20


def test_tables_go_on_in_the_next_master(start: Start, load: Loads, tmp_path: Path) -> None:
    """Whether the one before was killed, or is replaced while it lives; a table that is another one now begins empty."""
    (port,) = free_ports(1)
    text = tracking(port, tmp_path, "backend many\n  stick-table type string len 8 size 100k expire 1h store gpc0,http_req_rate(1h)\n")
    text = text.replace("conn_rate(1s)", "conn_rate(1h)")
    proxy = start(text).ready()
    path = tmp_path / "cli"
    client = load(port, 3)
    client.more(60)
    client.stop()
    cli(path, ";".join(f"set table many key k{n} data.gpc0 {n}" for n in range(300)))
    cli(path, "clear table many key k7")
    eventually(lambda: all(e["use"] == "0" for e in entries(path, "t").values()), "everything let go")
    held = socket.create_connection(("127.0.0.1", port), 5)
    eventually(lambda: entries(path, "f")["127.0.0.1"]["conn_cur"] == "1", "one client")

    def known() -> dict[str, dict[str, dict[str, str]]]:
        found = {table: entries(path, table) for table in ("f", "t", "many")}
        return {table: {key: {**row, "use": "0", "conn_cur": "0"} for key, row in rows.items()} for table, rows in found.items()}

    before = known()
    assert int(before["f"]["127.0.0.1"]["http_req_cnt"]) >= 60 and len(before["many"]) == 299 and before["many"]["k42"]["gpc0"] == "42"
    orphans = proxy.workers
    proxy.process.kill()
    proxy.wait()
    proxy = start(text).ready()
    assert known() == before
    assert {e["conn_cur"] for t in ("f", "t") for e in entries(path, t).values()} == {"0"}, "its clients are the orphans'"
    held.close()
    assert ask(port, "/")[0] == 200
    wanted = str(int(before["f"]["127.0.0.1"]["http_req_cnt"]) + 1)
    eventually(lambda: entries(path, "f")["127.0.0.1"]["http_req_cnt"] == wanted, "one more")
    eventually(lambda: gone(orphans), "the end of the orphans")
    before = known()
    changed = start(text.replace("size 100k", "size 200k"), "-W", "-sf", str(proxy.pid)).ready()
    assert proxy.wait() == 0
    assert known() == {**before, "many": {}}
    assert len(changed.workers) == 3


def test_clients_stay_with_their_server(start: Start, tmp_path: Path) -> None:
    """The three rules that keep a server, over three workers, and a server that goes down."""
    port, tcp, two, *servers = free_ports(5)
    text = f"""
global
  nbthread 3
  stats socket {tmp_path}/cli level admin
{DEFAULTS}
frontend f
  bind 127.0.0.1:{port}
  default_backend shop
backend shop
  balance roundrobin
  stick-table type string len 40 size 100 expire 1m
  stick match req.cook(session)
  stick store-response res.cook(session)
  stick on hdr(x-user)
  option redispatch 1
  retries 1
  server a 127.0.0.1:{servers[0]}
  server b 127.0.0.1:{servers[1]} non-stick
frontend two
  bind 127.0.0.1:{two}
  use_backend %[path,field(2,/)]
backend here
  stick-table type string len 9 size 10 srvkey addr
  stick on path,field(3,/)
  server first 127.0.0.1:{servers[0]}
  server second 127.0.0.1:{servers[1]}
backend there
  stick on path,field(3,/) table here
  server x 127.0.0.1:{servers[1]}
  server y 127.0.0.1:{servers[0]}
frontend t
  mode tcp
  bind 127.0.0.1:{tcp}
  default_backend line
backend line
  mode tcp
  balance roundrobin
  stick-table type ip size 10
  stick on src
  server a 127.0.0.1:{servers[0]}
  server b 127.0.0.1:{servers[1]}
""" + "".join(
        f"frontend {name}\n  bind 127.0.0.1:{p}\n  http-request return status 200 content-type text/plain "
        f"hdr Set-Cookie session=of-{name} string {name}\n"
        for name, p in zip("ab", servers, strict=True)
    )

    def get(port: int, field: str = "", path: str = "/") -> str:
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{field}\r\n".encode())
            data = b""
            while chunk := sock.recv(65536):
                data += chunk
        return data[-1:].decode()

    start(text).ready()
    assert {get(port) for _ in range(12)} == {"a", "b"}
    assert {get(port, "Cookie: session=of-a\r\n") for _ in range(9)} == {"a"}
    assert {get(port, "Cookie: session=of-b\r\n") for _ in range(12)} == {"a", "b"}, "b is not to be stuck to"
    assert len({get(tcp) for _ in range(12)}) == 1
    eventually(lambda: get(port, "X-User: me\r\n") == "a", "a stores me")
    assert {get(port, "X-User: me\r\n") for _ in range(9)} == {"a"}
    for who in "uvwxyz":  # servers that are the same by their addresses, whatever they are called in another backend
        assert len({get(two, path=f"/{backend}/{who}") for backend in ("here", "there") * 6}) == 1
    kept = entries(tmp_path / "cli", "shop")
    assert {key: kept[key]["server_key"] for key in ("of-a", "me")} == {"of-a": "a", "me": "a"} and "of-b" not in kept


def test_a_worker_holds_nothing_when_its_clients_are_gone(start: Start, tmp_path: Path) -> None:
    """Connections that end in every way: reset, in the middle of a request, of an answer, refused by a rule."""
    (port,) = free_ports(1)
    refuse = "  tcp-request connection reject if { sc0_conn_cur gt 8 }\n"
    text = tracking(port, tmp_path).replace("  http-request return", f"{refuse}  http-request return")
    start(text).ready()

    def rude(number: int) -> None:
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 5) as sock:
            sock.sendall((b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"GET / HT", b"", b"BAD\r\n\r\n")[number % 4])
            if number % 3:
                time.sleep(0.005)
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with ThreadPoolExecutor(6) as pool:
        for _ in pool.map(rude, range(240)):
            pass

    def held() -> list[str]:
        return [e[k] for t in ("f", "t") for e in entries(tmp_path / "cli", t).values() for k in ("use", "conn_cur")]

    eventually(lambda: held() and set(held()) == {"0"}, "everything let go")
