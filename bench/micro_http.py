"""CPU microseconds per head: ``python bench/micro_http.py``. Best of several runs, so that a busy neighbour does not count.

Every head is parsed from a buffer of its own with a path of its own, as in life; nothing here can be remembered from the last one.
"""

from __future__ import annotations

import sys
import timeit
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from forkproxy.http.body import Chunks
from forkproxy.http.reader import Limits, parse_request, parse_response

BROWSER = (
    b"GET /articles/2024/05/some-long-article-name-%d?utm_source=newsletter&page=2 HTTP/1.1\r\nHost: www.example.com\r\n"
    b'Connection: keep-alive\r\nsec-ch-ua: "Chromium";v="124", "Google Chrome";v="124", "Not-A.Brand";v="99"\r\nsec-ch-ua-mobile: ?0\r\n'
    b"Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 "
    b"Safari/537.36\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n"
    b"Cookie: session=0123456789abcdef; theme=dark\r\n\r\n"
)
SMALL = b"GET /%d HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"
UPLOAD = (
    b"POST /api/%d HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: python-requests/2.31\r\nAccept: */*\r\nConnection: keep-alive\r\n"
    b"Content-Type: application/json\r\nContent-Length: 128\r\n\r\n"
)
WEBSOCKET = (
    b"GET /chat/%d HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
NGINX = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Wed, 18 Nov 2026 10:00:00 GMT\r\nContent-Type: text/html\r\nContent-Length: 61%d\r\n"
    b'Last-Modified: Tue, 17 Nov 2026 10:00:00 GMT\r\nConnection: keep-alive\r\nETag: "65a3f0b5-267"\r\nAccept-Ranges: bytes\r\n\r\n'
)
CHUNKS = b"".join(b"3e8\r\n" + b"x" * 1000 + b"\r\n" for _ in range(8)) + b"0\r\n\r\n"


def cost(call: Callable[[], object], number: int = 20000, repeat: int = 9) -> float:
    """Microseconds per call."""
    return min(timeit.repeat(call, number=number, repeat=repeat)) / number * 1e6


def main() -> None:
    limits = Limits()
    next_of = {name: cycle([raw % i for i in range(64)]).__next__ for name, raw in globals().items() if name in _HEADS}
    idle = cost(next_of["SMALL"])
    for name, get in next_of.items():
        if name == "NGINX":
            spent = cost(lambda get=get: parse_response(get(), 0, limits, b"GET"))  # type: ignore[misc]
        else:
            spent = cost(lambda get=get: parse_request(get(), 0, limits))  # type: ignore[misc]
        print(f"{name.lower():12} {len(get()):5} bytes {spent - idle:7.2f} µs")
    parsed = parse_request(BROWSER % 1, 0, limits)
    assert parsed is not None
    head = parsed[0]
    print(f"{'get':12} {'':11} {cost(lambda: head.get(b'user-agent')):7.2f} µs   one field, asked again")
    print(f"{'items':12} {'':11} {cost(head.items):7.2f} µs   all fields")
    print(f"{'8 chunks':12} {len(CHUNKS):5} bytes {cost(lambda: Chunks().feed(CHUNKS)):7.2f} µs")


_HEADS = ("BROWSER", "SMALL", "UPLOAD", "WEBSOCKET", "NGINX")

if __name__ == "__main__":
    main()
