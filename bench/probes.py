"""Are the answers right? A few exchanges per case and proxy, looked at closely, before anything is measured (wrk counts errors only)."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass, field

from bench.cases import Case
from bench.configs import BACKENDS, host
from bench.processes import BODY, PATTERN, Sink

_BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)", "Accept": "text/html", "Cookie": "session=1; theme=dark"}


@dataclass(frozen=True, slots=True)
class Probe:
    """A request and what must come of it: ``body`` exactly, or a body of ``size`` bytes of the origin's pattern, or one that has
    ``parts``; ``fields`` of the answer (None: absent); ``logged`` is a piece of the log line."""

    path: str
    status: int = 200
    method: str = "GET"
    send: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    size: int = 0
    parts: tuple[str, ...] = ()
    fields: dict[str, str | None] = field(default_factory=dict)
    logged: str = ""


_WWW = {"Host": "www.example.com"}
_PRODUCTION = (
    Probe("/shop/echo", headers=_WWW, parts=("GET /echo host=www.example.com", "proto=http "), logged=" www app/app"),
    Probe("/admin/x", 403, headers=_WWW),
    Probe("/x", 403, headers=_WWW | {"User-Agent": "sqlmap/1"}),
    Probe("/a?b=1", 301, headers={"Host": "example.com"}, fields={"Location": "http://www.example.com/a?b=1"}),
    Probe("/api/1", headers=_WWW, body=BODY, logged=" www api/api", fields={"Cache-Control": None}),
    Probe("/css/main/1", headers=_WWW, body=BODY, fields={"Cache-Control": "public, max-age=3600", "Server": None}),
    Probe("/1", headers=_WWW | {"Cookie": "a=1; SRV=app3"}, body=BODY, logged=" www app/app3 ", fields={"Set-Cookie": None}),
    Probe("/1", headers=_WWW, body=BODY, fields={"X-Frame-Options": "SAMEORIGIN"}),
)


def probes(case: Case) -> tuple[Probe, ...]:
    """What is asked in a case."""
    if case.lua == "production":
        return _PRODUCTION
    if case.lua == "hosts":  # names in another case of letters
        some = (0, 1, BACKENDS // 2, BACKENDS - 1)
        return tuple(Probe("/item/1", headers={"Host": host(n).title()}, body=BODY, logged=f" bench be{n}/s ") for n in some)
    if case.path == "/upload":
        return (Probe("/upload", method="POST", send=PATTERN * 65536, body=b"took 1048576"),)
    size = {"/10k": 10240, "/slow": 10240, "/1m": 1 << 20, "/100m": 100 << 20}.get(case.path, 0)
    if size:
        return (Probe(case.path, size=size),)
    echo = Probe("/echo?a=1", parts=("GET /echo?a=1 ", "xff=127.0.0.1 " if case.logged else "xff= ", f"cookie={_BROWSER['Cookie']}."))
    return (Probe(case.path, body=BODY, logged="/s0 " if case.servers == 1 and case.logged and not case.entries else ""), echo)


def check(case: Case, port: int, sink: Sink) -> list[str]:
    """Ask; returns what was wrong."""
    wrong: list[str] = []
    for number, probe in enumerate(probes(case)):
        sink.kept = []
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        headers = {**_BROWSER, **probe.headers}
        if case.close:
            headers["Connection"] = "close"
        try:
            for again in range(1 if probe.size > 1 << 20 else 3):  # on a kept connection too
                connection.request(probe.method, probe.path, probe.send, headers)
                answer = connection.getresponse()
                wrong += [f"probe {number}.{again}: {what}" for what in _compare(probe, answer, answer.read())]
        except (OSError, http.client.HTTPException) as error:
            wrong.append(f"probe {number}: {error!r}")
        finally:
            connection.close()
        if probe.logged:
            deadline = time.monotonic() + 5.0
            while not any(probe.logged.encode() in line for line in sink.kept):
                if time.monotonic() > deadline:
                    wrong.append(f"probe {number}: no log line with {probe.logged!r} among {sink.kept}")
                    break
                time.sleep(0.01)
    sink.kept = None
    return wrong


def _compare(probe: Probe, answer: http.client.HTTPResponse, body: bytes) -> list[str]:
    wrong = []
    if answer.status != probe.status:
        wrong.append(f"status {answer.status} instead of {probe.status}")
    if probe.body is not None and body != probe.body:
        wrong.append(f"body {body[:80]!r}")
    if probe.size and (len(body) != probe.size or body != PATTERN * (probe.size // len(PATTERN))):
        wrong.append(f"a body of {len(body)} bytes, or not the origin's")
    wrong += [f"no {part!r} in {body[:300]!r}" for part in probe.parts if part.encode() not in body]
    for name, value in probe.fields.items():
        if answer.getheader(name) != value:
            wrong.append(f"{name}: {answer.getheader(name)!r}")
    return wrong
