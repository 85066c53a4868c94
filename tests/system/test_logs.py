"""Log targets beside Debian's haproxy: headers, levels, lengths, samples, sockets of every kind; and tools that read the files."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests import ports
from tests.peers import needs
from tests.system.conftest import eventually
from tests.system.duet import COMMANDS, Duet, Side, read_all
from tests.system.scripts import LAST, OK, answer, ask, command, last, refuses

pytestmark = [pytest.mark.system, needs("haproxy")]

DEFAULTS = """
defaults
  mode http
  option httplog
  timeout connect 1s
  timeout client 700ms
  timeout server 700ms
  retries 0
"""
FORMATS = ("local", "rfc3164", "rfc5424", "priority", "short", "timed", "iso", "raw")


def collector(path: Path) -> socket.socket:
    """A syslog server on a unix socket."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))
    sock.settimeout(2)
    return sock


def masked(line: bytes) -> bytes:
    """A whole line without date, process, port, times and bytes."""
    line = re.sub(rb"\w{3} [ \d]\d \d\d:\d\d:\d\d", b"DATE", line)
    line = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d", b"DATE", line)
    line = re.sub(rb"\[\d+\]: |(?<= tagged )\d+(?= - - )", b"[PID]: ", line)
    line = re.sub(rb"127\.0\.0\.1:\d+ \[[^]]+\]", b"127.0.0.1:P [T]", line)
    line = re.sub(rb" \d+(/-?\d+){2,4}(?= \d{3} )", b" T", line)
    return re.sub(rb"(?<= T \d{3} )\d+", b"B", line)


def received(sock: socket.socket, count: int) -> list[bytes]:
    """``count`` lines of streams, what is said of proxies left out, and one more if it comes."""
    lines: list[bytes] = []
    with contextlib.suppress(TimeoutError):
        while True:
            line = sock.recv(65536)
            if b"127.0.0.1:" in line or b"conn " in line or b" - - [" in line or b"Connect from" in line:
                lines.append(line)
            if len(lines) == count:
                sock.settimeout(0.05)
    sock.settimeout(2)
    return lines


Found = dict[str, list[list[bytes]]]


def compare(directory: Path, text: str, names: list[str], targets: list[bytes], counts: list[int]) -> Found:
    """What the collectors ``names`` get from both balancers while ``targets`` are asked for."""
    with contextlib.ExitStack() as stack:
        socks = {
            side: [stack.enter_context(collector(directory / f"{side}.{name}")) for name in names] for side in ("haproxy", "forkproxy")
        }
        both = stack.enter_context(Duet(directory, text))
        seen: Found = {}
        for side in (both.reference, both.ours):
            for target in targets:
                side.run(last(target), refuses if target == b"/fails" else answer(OK), 0)
            seen[side.name] = [received(sock, count) for sock, count in zip(socks[side.name], counts, strict=True)]
        return seen


def test_formats_and_lengths(tmp_path: Path) -> None:
    names = [f"{form}{size}" for form in FORMATS for size in ("", "80")]
    lines = "".join(
        f"  log {{dir}}/{{name}}.{form}{size} {'len ' + size if size else ''} format {form} local3\n"
        for form in FORMATS for size in ("", "80")
    )  # fmt: skip
    text = "global\n  log-send-hostname here\n" + DEFAULTS + "frontend fe\n  bind 127.0.0.1:{port}\n  log-tag tagged\n" + lines
    text += "  http-request return status 200\n"
    seen = compare(tmp_path, text, names, [b"/a"], [1] * len(names))
    ours, reference = ([[masked(line) for line in lines] for lines in seen[side]] for side in ("forkproxy", "haproxy"))
    sizes = [len(line) for lines in seen["forkproxy"] for line in lines]
    assert all(size <= 81 for size in sizes[1::2]) and len(sizes) == len(names)
    for name, mine, its in zip(names, ours, reference, strict=True):
        if name.endswith("80"):  # cut somewhere within port and date: only the header tells
            mine, its = ([line.split(b"127.0.0.1")[0] for line in lines] for lines in (mine, its))
        assert mine == its, name


class StreamCollector:
    """A syslog server over connections of any kind; ``got`` is all that came, of whichever connection."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.got = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._read, args=(self.listener.accept()[0],), daemon=True).start()

    def _read(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            while data := peer.recv(65536):
                self.got += data


def all_have(there: list[StreamCollector], what: bytes) -> bool:
    return all(what in each.got for each in there)


STREAMS = """
ring counted
  format rfc5424
  maxlen 1200
  size 32764
  timeout connect 1s
  timeout server 1s
  server a 127.0.0.1:{ports[0]} log-proto octet-count
ring plain
  timeout connect 1s
  timeout server 1s
  server a 127.0.0.1:{ports[1]}
ring two
  format rfc3164
  maxlen 58
  timeout connect 1s
  timeout server 1s
  server a 127.0.0.1:{ports[2]} log-proto legacy
  server b 127.0.0.1:{ports[3]}
frontend fe
  bind 127.0.0.1:{{port}}
  log-tag tagged
  log-format "%HU done"
  log ring@counted local3
  log ring@plain format rfc5424 local3
  log ring@two len 100 local3
  log tcp@127.0.0.1:{ports[4]} local3
  log tcp@127.0.0.1:{ports[5]} len 200 format iso local3
  log uxst@{path} format raw local3
  http-request return status 200
"""


def test_streams(tmp_path: Path) -> None:
    targets = [b"/a", b"/" + b"b" * 70, b"/c"]
    seen = {}
    for name in ("haproxy", "forkproxy"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / f"{name}.stream"))
        listener.listen()
        there = [*(StreamCollector(ports.listener()) for _ in range(6)), StreamCollector(listener)]
        numbers = [each.listener.getsockname()[1] for each in there[:6]]
        text = "global\n  stats socket {dir}/{name}.cli level admin\n" + DEFAULTS
        text += STREAMS.format(ports=numbers, path=tmp_path / f"{name}.stream")
        with Side(tmp_path, text, name) as side:
            for target in targets:
                side.run(last(target), answer(OK), 0)
            eventually(partial(all_have, there, b"/c done"))
            if name == "forkproxy":
                shown = command(tmp_path / "forkproxy.cli", "show events plain")
                assert shown.split(b"\n")[:3] == [target + b" done" for target in targets]
                assert b"    two        : type=buffer, two\n" in command(tmp_path / "forkproxy.cli", "show events")
                assert command(tmp_path / "forkproxy.cli", "show events nope").startswith(b"No such event sink\n")
        masks = (
            (rb"\w{3} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[\d:.+-]+", b"DATE"),
            (rb"\[\d+\]: |(?<= tagged )\d+", b"PID"),
            (rb"/b{5,}", b"/b"),
        )
        seen[name] = [bytes(each.got) for each in there]
        for pattern, word in masks:
            seen[name] = [re.sub(pattern, word, got) for got in seen[name]]
        seen[name][0] = re.sub(rb"\d+(?= <)", lambda digits: b"%d" % (int(digits[0]) - len(str(side.process.pid))), seen[name][0])
        for each in there:
            each.listener.close()
    assert seen["forkproxy"] == seen["haproxy"]


def test_levels(tmp_path: Path) -> None:
    text = DEFAULTS + """
frontend fe
  bind 127.0.0.1:{port}
  option log-separate-errors
  log {dir}/{name}.all local1
  log {dir}/{name}.errors local2 err
  log {dir}/{name}.few local3 info notice
  log {dir}/{name}.none local4 crit
  http-request set-log-level warning if {{ path /warned }}
  http-request set-log-level silent if {{ path /silent }}
  http-request deny if {{ path /denied }}
  default_backend be
backend be
  server s 127.0.0.1:{origin}
"""
    targets = [b"/a", b"/fails", b"/warned", b"/silent", b"/denied"]
    seen = compare(tmp_path, text, ["all", "errors", "few", "none"], targets, [4, 2, 4, 0])
    found = {side: [[line.split(b">")[0] for line in lines] for lines in seen[side]] for side in seen}
    assert found["forkproxy"] == found["haproxy"]
    assert found["forkproxy"][0] == [b"<142", b"<139", b"<140", b"<139"] and len(found["forkproxy"][1]) == 2 and not found["forkproxy"][3]


def test_samples_and_several_lines(tmp_path: Path) -> None:
    text = "global\n  log {dir}/{name}.global local0\n" + DEFAULTS + """
frontend fe
  bind 127.0.0.1:{port}
  log global
  log {dir}/{name}.second sample 1:2 local0
  log {dir}/{name}.ranges sample 2-3,5:5 local0
  http-request return status 200
"""
    seen = compare(tmp_path, text, ["global", "second", "ranges"], [b"/%d" % i for i in range(8)], [8, 4, 5])
    found = {side: [[line.split(b"GET /")[1][:1] for line in lines] for lines in seen[side]] for side in seen}
    assert found["forkproxy"] == found["haproxy"]
    assert found["forkproxy"][2] == [b"1", b"2", b"4", b"6", b"7"]


def test_no_log_and_tags(tmp_path: Path) -> None:
    text = "global\n  log {dir}/{name}.global local0\n  log-tag everywhere\n" + DEFAULTS + """  log global
  log-tag here
frontend fe
  bind 127.0.0.1:{port}
  no log
  log {dir}/{name}.own local5 info
  http-request return status 200
"""
    seen = compare(tmp_path, text, ["global", "own"], [b"/a"], [0, 1])
    assert [masked(line) for line in seen["forkproxy"][1]] == [masked(line) for line in seen["haproxy"][1]]
    assert b" here[" in seen["forkproxy"][1][0] and seen["forkproxy"][0] == []


@pytest.mark.parametrize("target", ["stdout", "stderr", "fd@1", "fd@2"])
def test_standard_descriptors(tmp_path: Path, target: str) -> None:
    text = f"global\n  log {target} format raw local0\n" + DEFAULTS + "  log global\n"
    text += "frontend fe\n  bind 127.0.0.1:{port}\n  http-request return status 200\n"
    found = []
    for name in COMMANDS:
        with Side(tmp_path, text, name) as side:
            side.run(last(b"/one"), answer(OK), 0)
            side.run(last(b"/two"), answer(OK), 0)
        lines = (tmp_path / f"{name}.err").read_bytes().splitlines(keepends=True)
        found.append([masked(line) for line in lines if b"GET /" in line])
    assert found[1] == found[0] and len(found[1]) == 2 and found[1][1].endswith(b'"GET /two HTTP/1.1"\n')


def digits(line: bytes) -> bytes:
    """A line in which numbers that differ from run to run are N."""
    line = re.sub(rb"^<\d+>\w{3} [ \d]\d \d\d:\d\d:\d\d haproxy\[\d+\]: ", b"", line)
    line = re.sub(rb"\[\d+/\w+/\d{4}:[\d:.]+( [+-]\d{4})?\]", rb"[D\1]", line)
    line = re.sub(rb'("" \d+) \d+(?= "fe")', rb"\1 N", line)  # milliseconds, which may be 200 as well
    return re.sub(rb"(?<![\w-])(?!(?:200|403|502|000) )\d+(?![\w.])", b"N", line)


LINES: dict[str, tuple[str, list[bytes], int]] = {
    "clf": (
        "mode http\n  option httplog clf\n  capture request header Host len 9\n  capture cookie A len 5",
        [b"/a?b=c", b"/fails", b"/no"], 3,
    ),
    "logasap": ("mode http\n  option httplog\n  option logasap", [b"/a", b"/fails", b"/denied"], 3),
    "logasap clf": ("mode http\n  option httplog clf\n  option logasap", [b"/a"], 1),
    "logasap with a format": ('mode http\n  option logasap\n  log-format "conn %ci %Tt %Ta %Tu %B %U %Td %ST %ts"', [b"/a", b"/denied"], 2),
    "tcp": ("mode tcp\n  option tcplog", [b"/a", b"/fails"], 2),
    "tcp logasap": ("mode tcp\n  option tcplog\n  option logasap", [b"/a", b"/fails"], 2),
    "tcp dontlog-normal": ("mode tcp\n  option tcplog\n  option dontlog-normal", [b"/a"], 1),
    "dontlog-normal": ("mode http\n  option httplog\n  option dontlog-normal", [b"/a", b"/fails", b"/denied"], 2),
    "tcp separate": ("mode tcp\n  option tcplog\n  option log-separate-errors", [b"/a"], 1),
    "http without a format": ("mode http", [b"/a", b"/fails"], 2),
    "tcp without a format": ("mode tcp", [b"/a"], 1),
    "tsc and times": (
        'mode http\n  log-format "conn %ci %ts %tsc %{+Q}ts %TR/%Tw/%Tc/%Tr/%Ta %Tq %Ti %Th %Td %trl %trg"'
        .replace("{", "{{").replace("}", "}}"),
        [b"/a", b"/fails", b"/denied"], 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_lines(tmp_path: Path, name: str) -> None:
    words, targets, count = LINES[name]
    text = DEFAULTS.replace("  mode http\n  option httplog\n", "") + "frontend fe\n  bind 127.0.0.1:{port}\n  log {dir}/{name}.log local0\n"
    deny = "  http-request deny if {{ path /denied }}\n" if "mode http" in words else ""
    text += f"  {words}\n{deny}  default_backend be\nbackend be\n  {words.splitlines()[0]}\n  server s 127.0.0.1:{{origin}}\n"
    seen = compare(tmp_path, text, ["log"], targets, [count])
    found = {side: [digits(line) for line in lines[0]] for side, lines in seen.items()}
    assert found["forkproxy"] == found["haproxy"] and len(found["forkproxy"]) == count


PROFILES = """
log-profile custom
  log-tag "custom-tag"
  on error format "%ci: error"
  on connect drop
  on http-req format "rule %HP"
  on any sd "custom-sd"
log-profile local
  log-tag local-tag
  on tcp-req-conn format "local connect %ci"
  on close drop
frontend fe
  bind 127.0.0.1:{port}
  mode http
  option httplog
  log-tag normal
  log-steps accept,connect,close
  log {dir}/plain format rfc5424 local0
  log {dir}/profile format rfc5424 profile custom local0
  tcp-request connection do-log profile local
  http-request do-log if {{ path /rule }}
  default_backend be
backend be
  server s 127.0.0.1:{origin}
"""


def bare(line: bytes) -> bytes:
    """A line of RFC 5424 without its date and process, the client's port, what follows the names of proxies up to the status, bytes, and
    counts of connections."""
    line = re.sub(rb"^(<134>1) \S+ - (\S+) \d+ ", rb"\1 \2 ", line)
    line = re.sub(rb":\d+ \[[^]]+\] (\S+ \S+) \S+ (-?\d+) \d+", rb" \1 \2", line)
    return re.sub(rb" (\S\S--) [0-9/]+ 0/0", rb" \1", line)


def test_log_profiles_and_steps(tmp_path: Path) -> None:
    """The example of the manual, with steps: one target has the frontend's lines, the other what its profile makes of them."""
    line = b"<134>1 %b - %b %b\n"
    with collector(tmp_path / "plain") as plain, collector(tmp_path / "profile") as profile, Side(tmp_path, DEFAULTS + PROFILES) as side:
        assert b"hello" in side.run(last(b"/rule"), answer(OK), 0).client
        assert b" 400 " in side.run(ask(b"BAD\r\n\r\n"), answer(OK), 0).client
        usual, changed = ([bare(sock.recv(4096)) for _ in range(count)] for sock, count in ((plain, 7), (profile, 6)))

    def text(server: bytes, status: bytes) -> bytes:
        return b'127.0.0.1 fe %b %b - - ---- "GET /rule HTTP/1.1"' % (server, status)

    accept, connect, close = text(b"fe/<NOSRV>", b"-1"), text(b"be/s", b"-1"), text(b"be/s", b"200")
    connection = line % (b"local-tag", b"-", b"local connect 127.0.0.1")
    assert usual == [connection] + [line % (b"normal", b"-", made) for made in (accept, accept, connect, close)] + [
        connection, line % (b"normal", b"-", b'127.0.0.1 fe fe/<NOSRV> 400 - - PR-- "<BADREQ>"'),
    ]  # fmt: skip
    assert changed == [
        connection, line % (b"custom-tag", b"custom-sd", accept), line % (b"custom-tag", b"-", b"rule /rule"),
        line % (b"custom-tag", b"custom-sd", close), connection, line % (b"custom-tag", b"-", b"127.0.0.1: error"),
    ]  # fmt: skip


def info(path: Path, name: str) -> str:
    """One value of ``show info``."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"show info\n")
        text = read_all(sock).decode()
    found = re.search(rf"(?m)^{name}: (.*)$", text)
    assert found is not None
    return found[1]


def test_a_syslog_that_went_away_is_counted_and_comes_back(tmp_path: Path) -> None:
    text = "global\n  stats socket {dir}/cli.sock\n" + DEFAULTS + "frontend fe\n  bind 127.0.0.1:{port}\n  log {dir}/syslog local0\n"
    text += "  http-request return status 200\n"
    first = collector(tmp_path / "syslog")
    with Side(tmp_path, text) as side:
        side.run(last(b"/1"), answer(OK), 0)
        assert b"GET /1 " in first.recv(4096)
        first.close()
        (tmp_path / "syslog").unlink()
        began = time.monotonic()
        assert b"200 OK" in side.run(last(b"/2"), answer(OK), 0).client
        assert b"200 OK" in side.run(last(b"/3"), answer(OK), 0).client
        assert time.monotonic() - began < 8, "nobody waits for it"
        assert info(tmp_path / "cli.sock", "DroppedLogs") == "2"
        with collector(tmp_path / "syslog") as second:
            end = time.monotonic() + 5  # the next attempt is made a second after the last one
            second.settimeout(0.1)
            line = b""
            while not line and time.monotonic() < end:
                side.run(last(b"/4"), answer(OK), 0)
                with contextlib.suppress(TimeoutError):
                    line = second.recv(4096)
            assert b"GET /4 " in line


ANALYSED = DEFAULTS + """
frontend fe
  bind 127.0.0.1:{port}
  log {log} len 4096 format rfc3164 local0
  capture request header User-Agent len 20
  http-request deny if {{ path /denied }}
  default_backend be
backend be
  server s 127.0.0.1:{origin}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A log file of each balancer, of the same traffic."""
    directory = tmp_path_factory.mktemp("files")
    found = {}
    with Duet(directory, ANALYSED) as both:
        for side in (both.reference, both.ours):
            lines = []
            for target in [b"/a", b"/b?x=1", b"/a", b"/denied", b"/fails", b"/missing"] * 3:
                raw = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" if target == b"/missing" else OK
                side.origin.begin(refuses if target == b"/fails" else answer(raw))
                with socket.create_connection(("127.0.0.1", side.port), timeout=5) as sock:
                    sock.sendall(LAST % (target, b"User-Agent: tests\r\n"))
                    read_all(sock)
                side.log.settimeout(3)
                while b'"GET ' not in (line := side.log.recv(65536)):
                    pass
                lines.append(re.sub(rb"^<\d+>", b"", line))
            found[side.name] = directory / f"{side.name}.log"
            found[side.name].write_bytes(b"".join(lines))
    yield found


HALOG = [
    ["-st"], ["-srv"], ["-u"], ["-uc"], ["-ut"], ["-ubt", "-query"], ["-ic"], ["-tc"], ["-cc"], ["-e"], ["-hs", "400:599"], ["-pct"],
    ["-H", "-c"], ["-E", "-H", "-c"], ["-TCN", "SC", "-c"], ["-hdr", "1:1"], ["-v", "-hs", "200", "-u"],
]  # fmt: skip


@needs("halog")
@pytest.mark.parametrize("words", HALOG)
def test_halog(files: dict[str, Path], words: list[str]) -> None:
    found = {}
    for name, path in files.items():
        with open(path, "rb") as file:
            done = subprocess.run(["halog", *words], stdin=file, capture_output=True, timeout=20, check=True)
        text = done.stdout.decode()
        if words == ["-srv"]:  # the last columns are averages of times
            text = "\n".join(" ".join(line.split()[:8]) for line in text.splitlines())
        if words == ["-pct"]:  # times
            text = "\n".join(" ".join(line.split()[:2]) for line in text.splitlines())
        if any(word.startswith(("-u", "-ic")) for word in words):  # average times and bytes
            text = "\n".join(sorted(f"{line.split()[:2]} {line.split()[-1]}" for line in text.splitlines()))
        found[name] = len(text.splitlines()) if words[0] in ("-e", "-hs") else text
    assert found["forkproxy"] == found["haproxy"] and found["forkproxy"]


COUNTS = (
    "counter,http_methods,ip_counter,status_codes_counter,request_path_counter,server_load,connection_type,top_ips,top_request_paths,"
    "queue_peaks"
)


@pytest.mark.parametrize("command", COUNTS.split(","))
def test_haproxy_log_analysis(files: dict[str, Path], command: str, tmp_path: Path) -> None:
    found = {}
    for name, path in files.items():
        text = subprocess.run(
            [sys.executable, "-c", "from haproxy.main import console_script as run; run()", "-l", str(path), "-c", command],
            capture_output=True, timeout=30, check=False, env={**os.environ, "HOME": str(tmp_path)}, cwd=tmp_path,
        )  # fmt: skip
        found[name] = re.sub(rb"It took .*\n", b"", text.stdout)
    assert found["forkproxy"] == found["haproxy"] and found["forkproxy"]
