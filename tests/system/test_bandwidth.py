"""Bandwidth limits with several workers: how long real clients take for what they get and send. (2.6, the oracle, has no filter.)"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, Proxy
from tests.system.duet import Origin, read_all, read_head

pytestmark = pytest.mark.system

SIZE = 300_000
CONFIG = """
global
  nbthread 3
{defaults}
backend rates
  stick-table type string size 100 expire 1m store bytes_out_rate(1s),bytes_in_rate(1s)
frontend f
  bind 127.0.0.1:{port}
  filter bwlim-out shared limit 400k key path table rates
  filter bwlim-in all-in limit 400k key path table rates
  filter bwlim-out alone default-limit 100k default-period 1s
  http-request set-bandwidth-limit shared if {{ path /shared }}
  http-request set-bandwidth-limit all-in if {{ path /upload }}
  http-request set-bandwidth-limit alone if {{ path /alone }}
  http-request set-bandwidth-limit alone limit 10m if {{ path /quick }}
  http-response set-header x-worker %[thread]
  default_backend b
backend b
  server s 127.0.0.1:{origin}
listen tcp
  mode tcp
  bind 127.0.0.1:{raw}
  filter bwlim-out slow default-limit 100k default-period 1s
  tcp-request content set-bandwidth-limit slow
  server s 127.0.0.1:{origin}
"""


def serve(sock: socket.socket) -> None:
    """Answer each request with :data:`SIZE` bytes, or take a body of that size."""
    left = b""
    while head := read_head(sock, left):
        start, _, left = head.partition(b"\r\n\r\n")
        if start.startswith(b"POST"):
            got = len(left)
            while got < SIZE and (data := sock.recv(65536)):
                got += len(data)
            left = b""
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        else:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + b"x" * SIZE)
            if b"/tcp" in start:
                return


def fetch(port: int, path: str) -> tuple[float, bytes]:
    """(seconds, worker) of a request that must be answered whole."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        post = path == "/upload"
        head = f"{'POST' if post else 'GET'} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        sock.sendall(head.encode() + (b"Content-Length: %d\r\n\r\n" % SIZE + b"x" * SIZE if post else b"\r\n"))
        head_, _, body = read_all(sock).partition(b"\r\n\r\n")
    assert head_.startswith(b"HTTP/1.1 200") and len(body) == (0 if post else SIZE), (path, head_, len(body))
    return time.monotonic() - began, head_.lower().partition(b"x-worker: ")[2][:1]


def test_what_clients_get_and_send(start: Callable[..., Proxy], tmp_path: Path) -> None:
    origin = Origin()
    origin.begin(serve)
    port, raw = free_ports(2)
    start(CONFIG.format(defaults=DEFAULTS, port=port, raw=raw, origin=origin.port)).ready()
    asked = ["/shared"] * 5 + ["/upload"] * 4 + ["/alone", "/quick", "/free"]
    with ThreadPoolExecutor(len(asked) + 1) as pool:
        session = pool.submit(fetch, raw, "/tcp")
        found = list(zip(asked, pool.map(lambda path: fetch(port, path), asked), strict=True))
    origin.close()
    times = {path: sorted(took_s for other, (took_s, _) in found if other == path) for path in asked}
    times["/tcp"] = [session.result()[0]]
    assert len({worker for _, (_, worker) in found}) > 1, "several workers served them"
    # what passes in the first second is the limit's at once; a busy machine is later, never earlier
    for path, bytes_, limit in (
        ("/shared", 5 * SIZE, 400 << 10), ("/upload", 4 * SIZE, 400 << 10), ("/alone", SIZE, 100 << 10), ("/tcp", SIZE, 100 << 10),
    ):  # fmt: skip
        least = bytes_ / limit
        assert least * 0.9 < times[path][-1] < least * 2 + 5, (path, times[path], least)
    assert max(times["/quick"] + times["/free"]) < 0.8 * times["/shared"][-1]
