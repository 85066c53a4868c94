"""One check of every kind beside Debian's haproxy: what the server received, and what the log says of the outcome.

Each case is a backend with one server and a scripted service behind it. Both balancers read the same file; the lines of
``option log-health-checks`` are compared, and the bytes of the first connection.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ports
from tests.ports import free_ports
from tests.system.conftest import ROOT, eventually
from tests.system.duet import BESIDE_HAPROXY

pytestmark = BESIDE_HAPROXY

#: What a service does on a connection: send bytes, or one of the words: "read" (until something came), "close", "reset", "hang".
Script = tuple[bytes | str, ...]

TCP = "option tcp-check"


def _packet(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


def _frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


GREETING = b"+OK ready\r\n"
LDAP_OK = bytes.fromhex("300c02010161070a010004000400")
MYSQL_HELLO = _packet(
    b"\x0a5.7.30\x00\x01\x00\x00\x00abcdefgh\x00\xff\xf7\x21\x02\x00\x7f\x80\x15" + bytes(10) + b"123456789012\x00mysql_n\x00"
)
MYSQL_ERROR = _packet(b"\xff\x6a\x04Host is not allowed.")
MYSQL_OK = b"\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00"
PGSQL_OK = b"R\x00\x00\x00\x08\x00\x00\x00\x00"
SPOP_OK = _frame(b"\x65\x00\x00\x00\x01\x00\x00" + b"\x07version\x08\x032.0\x0emax-frame-size\x03\xfc\xf0\x06\x0ccapabilities\x08\x00")
SPOP_NO_VERSION = _frame(b"\x65\x00\x00\x00\x01\x00\x00" + b"\x0emax-frame-size\x03\xfc\xf0\x06\x0ccapabilities\x08\x00")
SPOP_BYE = _frame(b"\x66\x00\x00\x00\x01\x00\x00" + b"\x0bstatus-code\x03\x02\x07message\x08\x04away")
HTTP_OK = b"HTTP/1.1 200 Fine\r\nX-A: one, two\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"


def lines(*words: str) -> str:
    return "".join(f"  {word}\n" for word in words)


#: name → (lines of the backend, what its service does)
CASES: dict[str, tuple[str, Script]] = {
    "tcp-plain": (lines(TCP), ("hang",)),
    "tcp-connect": (lines(TCP, "tcp-check connect"), ("hang",)),
    "tcp-send": (lines(TCP, "tcp-check connect", r"tcp-check send PING\r\n"), ("read", "hang")),
    "tcp-string": (lines(TCP, "tcp-check connect", "tcp-check expect string +OK"), (GREETING, "hang")),
    "tcp-string-wrong": (lines(TCP, "tcp-check connect", "tcp-check expect string -ERR"), (GREETING, "close")),
    "tcp-string-waits": (lines(TCP, "tcp-check connect", "tcp-check expect string -ERR"), (GREETING, "hang")),
    "tcp-string-conclusive": (lines(TCP, "tcp-check connect", "tcp-check expect min-recv 0 string -ERR"), (GREETING, "hang")),
    "tcp-string-min": (lines(TCP, "tcp-check connect", "tcp-check expect min-recv 50 string -ERR"), (GREETING, "hang")),
    "tcp-not": (lines(TCP, "tcp-check connect", "tcp-check expect ! string -ERR"), (GREETING, "hang")),
    "tcp-not-wrong": (lines(TCP, "tcp-check connect", "tcp-check expect ! string +OK"), (GREETING, "hang")),
    "tcp-regex": (lines(TCP, "tcp-check connect", r"tcp-check expect rstring ^\+O[A-Z]"), (GREETING, "hang")),
    "tcp-regex-wrong": (lines(TCP, "tcp-check connect", "tcp-check expect rstring ^-"), (GREETING, "close")),
    "tcp-binary": (lines(TCP, "tcp-check connect", "tcp-check expect binary 2b4F4b"), (GREETING, "hang")),
    "tcp-binary-wrong": (lines(TCP, "tcp-check connect", "tcp-check expect binary 00ff"), (GREETING, "close")),
    "tcp-rbinary": (lines(TCP, "tcp-check connect", "tcp-check expect rbinary ^2B4F4B"), (GREETING, "hang")),
    "tcp-rbinary-wrong": (lines(TCP, "tcp-check connect", "tcp-check expect rbinary ^00"), (GREETING, "close")),
    "tcp-rbinary-lower": (lines(TCP, "tcp-check connect", "tcp-check expect rbinary ^2b4f4b"), (GREETING, "close")),
    "tcp-string-lf": (
        lines(TCP, "tcp-check set-var(check.x) str(OK)", "tcp-check connect", "tcp-check expect string-lf +%[var(check.x)]"),
        (GREETING, "hang"),
    ),
    "tcp-string-lf-wrong": (lines(TCP, "tcp-check connect", "tcp-check expect string-lf %[be_name]"), (GREETING, "close")),
    "tcp-binary-lf": (lines(TCP, "tcp-check connect", "tcp-check expect binary-lf %[str(+OK),hex]"), (GREETING, "hang")),
    "tcp-binary-lf-wrong": (lines(TCP, "tcp-check connect", "tcp-check expect binary-lf %[str(zz),hex]"), (GREETING, "close")),
    "tcp-send-lf": (
        lines(TCP, "tcp-check connect", "tcp-check send-lf %[be_name]/%[srv_name]", "tcp-check expect string x"), ("read", b"x"),
    ),
    "tcp-send-binary": (lines(TCP, "tcp-check connect", "tcp-check send-binary 50494e470d0a", "tcp-check expect string x"), ("read", b"x")),
    "tcp-send-binary-lf": (
        lines(TCP, "tcp-check connect", "tcp-check send-binary-lf %[str(PING),hex]0d0a", "tcp-check expect string x"), ("read", b"x"),
    ),
    "tcp-sends": (lines(TCP, "tcp-check connect", "tcp-check send a", "tcp-check send b", "tcp-check expect string x"), ("read", b"x")),
    "tcp-two": (
        lines(TCP, "tcp-check connect", "tcp-check expect string +OK", r"tcp-check send QUIT\r\n", "tcp-check expect string +BYE"),
        (GREETING, "read", b"+BYE\r\n", "hang"),
    ),
    "tcp-two-old-bytes": (
        lines(TCP, "tcp-check connect", "tcp-check expect string +OK", r"tcp-check send QUIT\r\n", "tcp-check expect string ready"),
        (GREETING, "read", b"+BYE\r\n", "close"),
    ),
    "tcp-expect-twice": (
        lines(TCP, "tcp-check connect", "tcp-check expect string +OK", "tcp-check expect string ready"), (GREETING, "hang"),
    ),
    "tcp-expect-twice-wrong": (
        lines(TCP, "tcp-check connect", "tcp-check expect string +OK", "tcp-check expect string nothing"), (GREETING, "close"),
    ),
    "tcp-second-wrong": (
        lines(TCP, "tcp-check connect", "tcp-check expect string +OK", "tcp-check send Q", "tcp-check comment second\\ one",
              "tcp-check expect string +BYE"),
        (GREETING, "read", b"-NO\r\n", "close"),
    ),
    "tcp-comment": (lines(TCP, "tcp-check connect", "tcp-check expect comment my\\ words string -ERR"), (GREETING, "close")),
    "tcp-comment-connect": (
        lines(TCP, "tcp-check comment first", "tcp-check connect", "tcp-check expect string -ERR"), (GREETING, "close"),
    ),
    "tcp-comment-timeout": (lines(TCP, "tcp-check connect", "tcp-check expect comment slow string -ERR"), ("hang",)),
    "tcp-comment-closed": (lines(TCP, "tcp-check connect", "tcp-check expect comment gone string -ERR"), ("close",)),
    "tcp-closed-send": (lines(TCP, "tcp-check connect", "tcp-check send x", "tcp-check expect string -ERR"), ("read", "close",)),
    "tcp-reset": (lines(TCP, "tcp-check connect", "tcp-check send x", "tcp-check expect string -ERR"), ("read", "reset",)),
    "tcp-ok-status": (lines(TCP, "tcp-check connect", "tcp-check expect ok-status L4OK string +OK"), (GREETING, "hang")),
    "tcp-ok-status6": (lines(TCP, "tcp-check connect", "tcp-check expect ok-status L6OK string +OK"), (GREETING, "hang")),
    "tcp-ok-status-c": (lines(TCP, "tcp-check connect", "tcp-check expect ok-status L7OKC string +OK"), (GREETING, "hang")),
    "tcp-ok-status-not-last": (
        lines(TCP, "tcp-check connect", "tcp-check expect ok-status L4OK string +OK", "tcp-check send x"), (GREETING, "hang"),
    ),
    "tcp-error-status": (lines(TCP, "tcp-check connect", "tcp-check expect error-status L7STS string -ERR"), (GREETING, "close")),
    "tcp-error-status4": (lines(TCP, "tcp-check connect", "tcp-check expect error-status L4CON string -ERR"), (GREETING, "close")),
    "tcp-error-status-c": (lines(TCP, "tcp-check connect", "tcp-check expect error-status L7OKC string -ERR"), (GREETING, "close")),
    "tcp-tout-status": (lines(TCP, "tcp-check connect", "tcp-check expect tout-status L4TOUT string -ERR"), ("hang",)),
    "tcp-on-success": (
        lines(TCP, "tcp-check connect", 'tcp-check expect on-success "well done %[res.payload(1,2)]" string +OK'), (GREETING, "hang"),
    ),
    "tcp-on-error": (
        lines(TCP, "tcp-check connect", 'tcp-check expect on-error "it said %[res.payload(0,0),hex]" string -ERR'), (GREETING, "close"),
    ),
    "tcp-on-error-comment": (
        lines(TCP, "tcp-check connect", 'tcp-check expect comment why on-error "it said no" string -ERR'), (GREETING, "close"),
    ),
    "tcp-status-code": (
        lines(TCP, "tcp-check connect", "tcp-check expect error-status L7STS status-code int(77) string -ERR"), (GREETING, "close"),
    ),
    "tcp-status-code-ok": (lines(TCP, "tcp-check connect", "tcp-check expect status-code int(78) string +OK"), (GREETING, "hang")),
    "tcp-connect-twice": (
        lines(TCP, "tcp-check connect", "tcp-check expect string +OK", "tcp-check connect", "tcp-check send again",
              "tcp-check expect string +OK"),
        (GREETING, "read", "hang"),
    ),
    "tcp-connect-port": (
        lines(TCP, "tcp-check set-var(check.port) int(DEAD)", "tcp-check connect port var(check.port) comment elsewhere"), ("hang",),
    ),
    "tcp-connect-refused": (lines(TCP, "tcp-check connect port DEAD"), ("hang",)),
    "tcp-connect-refused-2": (
        lines(TCP, "tcp-check connect", "tcp-check expect string +OK", "tcp-check connect port DEAD comment other\\ port"),
        (GREETING, "hang"),
    ),
    "tcp-unset": (
        lines(TCP, "tcp-check set-var(check.x) str(OK)", "tcp-check set-var-fmt(check.y) %[var(check.x)]!", "tcp-check unset-var(check.x)",
              "tcp-check connect", "tcp-check send-lf <%[var(check.x)]%[var(check.y)]>", "tcp-check expect string x"),
        ("read", b"x"),
    ),
    "tcp-send-proxy": (lines(TCP, "tcp-check connect send-proxy", "tcp-check send x", "tcp-check expect string y"), ("read", b"y")),
    "tcp-last-connect": (lines(TCP, "tcp-check connect", "tcp-check expect string +OK", "tcp-check connect"), (GREETING, "hang")),
    "tcp-last-act": (lines(TCP, "tcp-check connect", "tcp-check expect string +OK", "tcp-check unset-var(check.x)"), (GREETING, "hang")),
    "tcp-implicit": (lines(TCP, "tcp-check expect string -ERR"), (GREETING, "close")),
    "tcp-implicit-comment": (lines(TCP, "tcp-check comment here", "tcp-check expect string -ERR"), (GREETING, "close")),
    "tcp-implicit-port": (lines(TCP, "tcp-check expect string -ERR", "# PORT DEAD"), (GREETING, "close")),
    "tcp-plain-refused": (lines(TCP, "# PORT DEAD"), ("hang",)),
    "none-refused": (lines("# PORT DEAD"), ("hang",)),
    "none": (lines(), ("hang",)),
    "http-refused": (lines("option httpchk", "# PORT DEAD"), ("hang",)),
    "redis-refused": (lines("option redis-check", "# PORT DEAD"), ("hang",)),
    "tcp-not-closed": (lines(TCP, "tcp-check connect", "tcp-check expect ! string -ERR"), (GREETING, "close")),
    "tcp-comment-send": (
        lines(TCP, "tcp-check connect", "tcp-check send x comment my\\ send", "tcp-check expect string -ERR"), ("read", b"+OK", "close"),
    ),
    "spop": (lines("option spop-check"), ("read", SPOP_OK, "hang")),
    "spop-no-version": (lines("option spop-check"), ("read", SPOP_NO_VERSION, "hang")),
    "spop-disconnect": (lines("option spop-check"), ("read", SPOP_BYE, "hang")),
    # not half a frame: what 2.6 says of it depends on what was in its buffer before
    "proxy-v1": (lines("option redis-check", "# MORE send-proxy"), ("read", b"+PONG\r\n", "hang")),
    "proxy-v2": (lines("option redis-check", "# MORE send-proxy-v2"), ("read", b"+PONG\r\n", "hang")),
    "proxy-of-checks": (lines("option redis-check", "# MORE check-send-proxy"), ("read", b"+PONG\r\n", "hang")),
    "proxy-v2-connect": (lines(TCP, "tcp-check connect send-proxy", "tcp-check send x", "# MORE send-proxy-v2"), ("read", "hang")),
    "redis": (lines("option redis-check"), ("read", b"+PONG\r\n", "hang")),
    "redis-error": (lines("option redis-check"), ("read", b"-NOAUTH Authentication required.\r\n", "hang")),
    "redis-wrong": (lines("option redis-check"), ("read", b"HTTP/1.0 400\r\n", "hang")),
    "redis-short": (lines("option redis-check"), ("read", b"+PO", "close")),
    "redis-silent": (lines("option redis-check"), ("hang",)),
    "smtp": (lines("option smtpchk"), (b"220 me ESMTP\r\n", "read", b"250 hello\r\n", "read", b"221 bye\r\n", "hang")),
    "smtp-ehlo": (
        lines("option smtpchk EHLO mail.example"),
        (b"220 me ESMTP\r\n", "read", b"250-hello\r\n250 SIZE\r\n", "read", b"221 bye\r\n", "hang"),
    ),
    "smtp-other": (lines("option smtpchk LHLO x"), (b"220 me ESMTP\r\n", "read", b"250 hello\r\n", "read", b"221 bye\r\n", "hang")),
    "smtp-busy": (lines("option smtpchk"), (b"421 busy today\r\n", "hang")),
    "smtp-greeting": (lines("option smtpchk"), (b"hello there\r\n", "close")),
    "smtp-refused": (lines("option smtpchk"), (b"220 me ESMTP\r\n", "read", b"550 go away\r\n", "hang")),
    "smtp-long": (lines("option smtpchk"), (b"220-me\r\n220 ESMTP\r\n", "read", b"250 hello\r\n", "read", "hang")),
    "smtp-quit": (lines("option smtpchk"), (b"220 me\r\n", "read", b"250 hello\r\n", "read", b"500 what\r\n", "hang")),
    "smtp-no-line": (lines("option smtpchk"), (b"220 me", "close")),
    "ldap": (lines("option ldap-check"), ("read", LDAP_OK, "hang")),
    "ldap-long-length": (lines("option ldap-check"), ("read", bytes.fromhex("3084000000100201016184000000070a010004000400"), "hang")),
    "ldap-error": (lines("option ldap-check"), ("read", bytes.fromhex("300c02010161070a013104000400"), "hang")),
    "ldap-wrong": (lines("option ldap-check"), ("read", b"HTTP/1.0 400 Bad Request\r\n\r\n", "hang")),
    "ldap-other": (lines("option ldap-check"), ("read", bytes.fromhex("300c02010178070a010004000400"), "hang")),
    "ldap-short": (lines("option ldap-check"), ("read", b"0\x0c\x02", "close")),
    "mysql": (lines("option mysql-check"), (MYSQL_HELLO, "hang")),
    "mysql-error": (lines("option mysql-check"), (MYSQL_ERROR, "close")),
    "mysql-user": (lines("option mysql-check user bob"), (MYSQL_HELLO, "read", MYSQL_OK, "hang")),
    "mysql-user-pre41": (lines("option mysql-check user bob pre-41"), (MYSQL_HELLO, "read", MYSQL_OK, "hang")),
    "mysql-user-error": (lines("option mysql-check user bob"), (MYSQL_ERROR, "close")),
    "mysql-user-denied": (
        lines("option mysql-check user bob post-41"), (MYSQL_HELLO, "read", b"\x10\x00\x00\x02\xff\x15\x04Access denied", "close"),
    ),
    "mysql-wrong": (lines("option mysql-check"), (b"SSH-2.0-OpenSSH\r\n", "close")),
    "mysql-user-wrong": (lines("option mysql-check user bob"), (b"SSH-2.0-OpenSSH\r\n", "close")),
    "mysql-silent": (lines("option mysql-check"), ("hang",)),
    "pgsql": (lines("option pgsql-check user bob"), ("read", PGSQL_OK, "hang")),
    "pgsql-error": (lines("option pgsql-check user bob"), ("read", b"E\x00\x00\x00\x1fSFATAL\x00Cno such role\x00\x00", "close")),
    "pgsql-wrong": (lines("option pgsql-check user bob"), ("read", b"HTTP/1.0 400\r\n", "hang")),
    "pgsql-short": (lines("option pgsql-check user bob"), ("read", b"R\x00", "close")),
    "spop-refused": (lines("option spop-check"), ("read", struct.pack(">I", 5) + b"\x66\x00\x00\x00\x01", "hang")),
    "ssl-hello": (lines("option ssl-hello-chk"), ("read", b"\x16\x03\x01\x00\x2a", "hang")),
    "ssl-hello-alert": (lines("option ssl-hello-chk"), ("read", b"\x15\x03\x01\x00\x02\x02\x28", "hang")),
    "ssl-hello-wrong": (lines("option ssl-hello-chk"), ("read", b"HTTP/1.0 400\r\n", "hang")),
    "ssl-hello-closed": (lines("option ssl-hello-chk"), ("read", "close")),
    "external": (lines("option external-check", "external-check command /bin/true"), ("hang",)),
    "external-wrong": (lines("option external-check", "external-check command /bin/false", "external-check path /bin"), ("hang",)),
    "http": (lines("option httpchk"), ("read", HTTP_OK, "close")),
    "http-uri": (lines("option httpchk /here"), ("read", HTTP_OK, "close")),
    "http-host": (lines("option httpchk GET /here HTTP/1.1", "http-check send hdr host a.b"), ("read", HTTP_OK, "close")),
    "http-lf": (
        lines("option httpchk", "http-check set-var(check.p) str(/lf)", "http-check connect",
              'http-check send meth POST uri-lf "%[var(check.p)]" ver HTTP/1.1 hdr X-N "%[be_name]" body-lf "b=%[srv_name]"',
              "http-check expect status 200 status-code int(33)"),
        ("read", HTTP_OK, "close"),
    ),
    "http-string-lf": (
        lines("option httpchk", 'http-check expect string-lf "%[str(hello)]"'), ("read", HTTP_OK, "close"),
    ),
    "http-string-lf-wrong": (
        lines("option httpchk", 'http-check expect string-lf "%[be_name]"'), ("read", HTTP_OK, "close"),
    ),
    "http-min-recv": (
        lines("option httpchk", "http-check expect min-recv 3 string nothing"), ("read", HTTP_OK, "hang"),
    ),
    "http-on-success": (
        lines("option httpchk", 'http-check expect on-success "v=%[res.fhdr(x-a)] %[status]" status 200'), ("read", HTTP_OK, "close"),
    ),
    "http-on-error": (
        lines("option httpchk", 'http-check expect on-error "v=%[res.fhdr(x-a)] %[status]" status 500'), ("read", HTTP_OK, "close"),
    ),
    "http-on-error-code": (
        lines("option httpchk", 'http-check expect error-status L7STS status-code int(9) on-error "no" string zz'),
        ("read", HTTP_OK, "close"),
    ),
    "http-hdr-lf": (
        lines("option httpchk", 'http-check set-var(check.n) str(x-a)', "http-check connect", "http-check send",
              'http-check expect hdr name-lf "%[var(check.n)]" value-lf "%[str(two)]"'),
        ("read", HTTP_OK, "close"),
    ),
    "http-twice": (
        lines("option httpchk", "http-check connect", "http-check send uri /1", "http-check expect status 200", "http-check connect",
              "http-check send uri /2", "http-check expect status 500"),
        ("read", HTTP_OK, "close"),
    ),
    "http-comment": (
        lines("option httpchk", "http-check comment why", "http-check expect status 500"), ("read", HTTP_OK, "close"),
    ),
    "http-comment-timeout": (
        lines("option httpchk", "http-check expect comment slow status 500"), ("read", "hang"),
    ),
    "http-ok-status": (
        lines("option httpchk", "http-check expect ok-status L7OKC status 200"), ("read", HTTP_OK, "close"),
    ),
    "http-closed": (lines("option httpchk"), ("read", "close")),
    "http-reset": (lines("option httpchk"), ("read", "reset")),
    "http-no-answer": (lines("option httpchk"), ("read", "hang")),
    "http-nonsense": (lines("option httpchk"), ("read", b"nonsense\r\n\r\n", "hang")),
}


class Service:
    """Runs a script for every connection; ``first`` is what the first one received, up to its end."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.sock = ports.listener(backlog=64)
        self.port = self.sock.getsockname()[1]
        self.got: list[bytearray] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        got = bytearray()
        self.got.append(got)
        peer.settimeout(5)
        with contextlib.suppress(OSError), peer:
            for step in self.script:
                if isinstance(step, bytes):
                    peer.sendall(step)
                elif step == "read":
                    got += peer.recv(65536)
                    time.sleep(0.02)  # the rest of a question that left in pieces
                    peer.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        got += peer.recv(65536)
                    peer.settimeout(5)
                elif step == "reset":
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                elif step == "hang":
                    while data := peer.recv(65536):
                        got += data

    def close(self) -> None:
        self.sock.close()


class Balancer:
    """One of the two with services of its own."""

    def __init__(self, directory: Path, name: str, command: list[str], cases: dict[str, tuple[str, Script]]) -> None:
        self.services = {case: Service(script) for case, (_, script) in cases.items()}
        self.dead = socket.socket()
        self.dead.bind(("127.0.0.1", 0))
        self.sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sink.bind(("127.0.0.1", 0))
        self.sink.settimeout(0.05)
        self.said: dict[str, str] = {}
        (front,) = free_ports(1)
        text = f"""
global
  log 127.0.0.1:{self.sink.getsockname()[1]} local0
  external-check
  insecure-fork-wanted
  max-spread-checks 500ms
defaults
  mode tcp
  log global
  option log-health-checks
  timeout connect 400ms
  timeout check 2s
  timeout client 5s
  timeout server 5s
  default-server inter 60s
frontend f
  bind 127.0.0.1:{front}
"""
        for case, (body, _) in cases.items():
            mode = "  mode http\n" if case.startswith("http") else ""
            port = " port DEAD" if "# PORT" in body else body.partition("# MORE")[2].rstrip()
            text += f"backend {case}\n{mode}{body}  server s 127.0.0.1:{self.services[case].port} check{port}\n"
        text = text.replace("DEAD", str(self.dead.getsockname()[1]))
        file = directory / f"{name}.cfg"
        file.write_text(text)
        self.output = open(directory / f"{name}.out", "wb")  # noqa: SIM115
        self.process = subprocess.Popen([*command, "-f", str(file)], stdout=self.output, stderr=self.output)

    def read(self) -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                text = self.sink.recv(65536).decode("latin-1").rstrip("\n")
                match = re.search(r"Health check for server ([^/ ]+)/s (.*)", text)
                if match:
                    self.said.setdefault(match[1], re.sub(r"duration: \d+ms", "duration: Nms", match[2]))

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        for service in self.services.values():
            service.close()
        self.dead.close()
        self.sink.close()
        self.output.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Balancer, Balancer]]:
    directory = tmp_path_factory.mktemp("checks")
    reference = Balancer(directory, "haproxy", ["haproxy", "-db"], CASES)
    ours = Balancer(directory, "forkproxy", [sys.executable, str(ROOT / "bin" / "forkproxy"), "-d"], CASES)
    yield reference, ours
    reference.close()
    ours.close()


#: What the moment decides: haproxy may meet the service's reset while it still sends.
RACES = {"smtp-no-line": "Socket error"}


def plain(got: bytearray) -> bytes:
    """What a service received, without the time and ports that are in it."""
    return re.sub(rb"(?<=\x03\x00).{4}(?=HAPROXYSSLCHK)|(?<=127\.0\.0\.1 )\d+ \d+", b"", bytes(got), flags=re.S)


def test_every_kind_says_and_concludes_the_same(both: tuple[Balancer, Balancer]) -> None:
    def all_told() -> bool:
        for side in both:
            side.read()
        return all(len(side.said) == len(CASES) for side in both)

    eventually(all_told, "a verdict on every server")
    wrong = []
    for case in CASES:
        said = [re.sub(r"(?<=connect port )\d+", "P", side.said[case]) for side in both]
        if said[0] != said[1] and not any(RACES.get(case, "never") in text for text in said):
            wrong.append(f"{case}:\n  haproxy   {said[0]}\n  forkproxy {said[1]}")
        received = [[plain(got) for got in side.services[case].got if got] for side in both]
        if received[0] != received[1]:
            wrong.append(f"{case}:\n  to haproxy's service {received[0]}\n  to forkproxy's       {received[1]}")
    assert not wrong, "\n".join(wrong)
