"""The examples of the manual's chapter 2 as they stand there, and beside Debian's haproxy what they mean."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from forkproxy.config.diagnostics import Severity
from forkproxy.config.load import Result, load
from forkproxy.config.options import Options
from forkproxy.plan import Plan
from tests.peers import rest_needs

HEAD = "frontend f\n    mode http\n    timeout client 1s\n    bind 127.0.0.1:18080\n    log 127.0.0.1:514 local0\n"


def read(path: Path, text: str, options: Options | None = None) -> Result:
    path.write_text(text)
    return load([str(path)], options or Options(dump_config=""))


def good(path: Path, text: str) -> Plan:
    result = read(path, text)
    assert result.plan is not None, [m.text for m in result.diagnostics.messages]
    return result.plan


def judged_by_haproxy(path: Path) -> bool:
    """What haproxy thinks of the file."""
    rest_needs("haproxy")
    return subprocess.run(["haproxy", "-c", "-q", "-f", str(path)], timeout=30, check=False, capture_output=True).returncode == 0


# -- 2.1 -----------------------------------------------------------------------------------------------------------------

LOOSE = """\
         global#this is the global section
     daemon#daemonize
         frontend         foo
     mode             http   # or tcp
"""
NEAT = """\
     global
         daemon

     # this is the public web frontend
     frontend foo
         mode http
"""


def test_2_1_strictly_equivalent(tmp_path: Path) -> None:
    loose, neat = (read(tmp_path / "f.cfg", text) for text in (LOOSE, NEAT))
    assert loose.plan is not None and neat.plan is not None
    words = [("global",), ("daemon",), ("frontend", "foo"), ("mode", "http")]
    assert [w for _, w in loose.dump] == [w for _, w in neat.dump] == words
    assert loose.plan.global_.daemon and loose.plan.frontends[0].mode == neat.plan.frontends[0].mode == "http"


def test_2_1_identifiers_follow_the_order(tmp_path: Path) -> None:
    plan = good(tmp_path / "f.cfg", "     listen foo\n         bind :18080\n\n     listen bar\n         bind :18081\n")
    assert [(f.name, f.id) for f in plan.frontends] == [("foo", 1), ("bar", 2)]


# -- 2.2 -----------------------------------------------------------------------------------------------------------------

EQUIVALENT = r"""
      log-format %{+Q}o\ %t\ %s\ %{-Q}r
      log-format "%{+Q}o %t %s %{-Q}r"
      log-format '%{+Q}o %t %s %{-Q}r'
      log-format "%{+Q}o %t"' %s %{-Q}r'
      log-format "%{+Q}o %t"' %s'\ %{-Q}r
"""


def test_2_2_five_ways_of_one_format(tmp_path: Path) -> None:
    result = read(tmp_path / "f.cfg", HEAD + EQUIVALENT)
    assert result.plan is not None
    assert {words for _, words in result.dump if words[0] == "log-format"} == {("log-format", "%{+Q}o %t %s %{-Q}r")}


@pytest.mark.parametrize(
    ("line", "accepted"),
    [
        ("http-request set-path %[path,regsub(foo,blah,g)]", True),
        ("http-request set-path %[path,regsub((foo|bar),blah,g)]", False),
        ('http-request set-path %[path,regsub("(foo|bar)",blah,g)]', False),
        (r"http-request set-path %[path,regsub(\"(foo|bar)\",blah,g)]", True),
        ("""http-request set-path '%[path,regsub("(foo|bar)",blah,g)]'""", True),
        ("""http-request set-path '%[path, regsub("(foo|bar)", blah, g)]'""", False),
        (r"""http-request set-path '%[path,regsub("^/(here)(/|$)","my/\1",g)]'""", True),
        (r"""http-request set-var(txn.foo) str("\\'foo\\'")""", True),
        (r"""http-request set-var(txn.foo) str(\"\'foo\'\")""", True),
        (r"""http-request set-var(txn.foo) str(\\\'foo\\\')""", True),
    ],
)
def test_2_2_arguments_in_parentheses(tmp_path: Path, line: str, accepted: bool) -> None:
    path = tmp_path / "f.cfg"
    assert (read(path, f"{HEAD}    {line}\n").plan is not None) == accepted
    assert judged_by_haproxy(path) == accepted


# -- 2.3 -----------------------------------------------------------------------------------------------------------------


def test_2_3_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FD_APP1", "3")
    monkeypatch.setenv("HAPROXY_USER", "root")
    monkeypatch.setenv("LIST", " one  two\tthree ")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("LOCAL_SYSLOG", raising=False)
    plan = good(
        tmp_path / "f.cfg",
        'global\n      log "${LOCAL_SYSLOG-127.0.0.1}:514" local0 notice  # send to local server\n      user "$HAPROXY_USER"\n'
        'frontend f\n      bind "fd@${FD_APP1}"\n',
    )
    assert str(plan.frontends[0].binds[0].address) == "fd@3" and plan.global_.uid == 0
    assert str(plan.global_.log_targets[0].address) == "127.0.0.1:514"
    result = read(tmp_path / "f.cfg", 'global\n description "${LIST[*]}" "$LIST" x"${EMPTY-x}" "${UNSET-x y}" "$EMPTY[*]" $LIST\n')
    last = [words for _, words in result.dump][-1]
    assert last == ("description", "one", "two", "three", " one  two\tthree ", "x", "x y", "[*]", "$LIST")


def test_2_3_the_log_format_with_more(tmp_path: Path) -> None:
    good(tmp_path / "f.cfg", HEAD + '    log-format "${HAPROXY_TCP_LOG_FMT} lr=%[src]:%[dst_port] at=$.FILE:$.LINE in=$.SECTION"\n')


# -- 2.4 -----------------------------------------------------------------------------------------------------------------

NESTED = """\
  .if "${A}"
    .if "${B}"
       .notice "A=1, B=1"
    .elif "${C}"
       .notice "A=1, B=0, C=1"
    .elif "${D}"
       .warning "A=1, B=0, C=0, D=1"
    .else
       .alert "A=1, B=0, C=0, D=0"
    .endif
  .else
       .notice "A=0"
  .endif
"""


@pytest.mark.parametrize(
    ("ones", "severity", "text"),
    [
        ("", Severity.NOTICE, "'A=0'."),
        ("BCD", Severity.NOTICE, "'A=0'."),
        ("AB", Severity.NOTICE, "'A=1, B=1'."),
        ("ACD", Severity.NOTICE, "'A=1, B=0, C=1'."),
        ("AD", Severity.WARNING, "'A=1, B=0, C=0, D=1'."),
        ("A", Severity.ALERT, "'A=1, B=0, C=0, D=0'."),
    ],
)
def test_2_4_nested_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ones: str, severity: Severity, text: str) -> None:
    for name in "ABCD":
        monkeypatch.setenv(name, "1") if name in ones else monkeypatch.delenv(name, raising=False)
    first = read(tmp_path / "f.cfg", NESTED).diagnostics.messages[0]
    assert (first.severity, first.text) == (severity, text)


MIXED = """\
global
  master-worker
.if defined(HAPROXY_MWORKER)
    listen mwcli_px
       bind 127.0.0.1:18111
.endif
global
.if streq("$HAPROXY_BRANCH",3.1)
   mworker-max-reloads 5
.elif streq("$HAPROXY_BRANCH",3.4)
   mworker-max-reloads 6
.endif
  setenv WITH_SSL yes
  unsetenv SSL_ONLY
frontend f
.if strneq("$SSL_ONLY",yes)
       bind 127.0.0.1:18080
.endif
.if streq("$WITH_SSL",yes)
  .if feature(OPENSSL)
       bind 127.0.0.1:18443 ssl crt ...
  .endif
.endif
.if feature(OPENSSL) && (streq("$WITH_SSL",yes) || streq("$SSL_ONLY",yes))
       bind 127.0.0.1:18444 ssl crt ...
.endif
.if version_atleast(2.4-dev19)
    maxconn 77
.endif
.if !feature(OPENSSL)
    .warning "SSL support is mandatory"
.endif
.if defined( HAPROXY_MWORKER ) || streq("$WITH_SSL",     yes)
    .alert "blanks belong to the arguments"
.endif
"""


def test_2_4_predicates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_ONLY", "yes")
    result = read(tmp_path / "f.cfg", MIXED)
    plan = result.plan
    assert plan is not None
    assert [f.name for f in plan.frontends] == ["mwcli_px", "f"] and plan.global_.max_reloads == 6
    assert [b.address.port for b in plan.frontends[1].binds] == [18080] and plan.frontends[1].maxconn == 77
    assert "'SSL support is mandatory'." in [m.text for m in result.diagnostics.messages]


# -- 2.5, 2.6 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1000000us", 1.0), ("1us", 0.001), ("1000ms", 1.0), ("1000", 1.0), ("1s", 1.0), ("1m", 60.0), ("1h", 3600.0), ("1d", 86400.0),
     ("24d", 2073600.0), ("2147483647", 2147483.647), ("2147483648", None), ("25d", None), ("600h", None), ("1.5s", None), ("1S", None),
     ("1 s", None), ("-1", None), ("s", None), ("99999999999999999999d", None)],
)  # fmt: skip
def test_2_5_times(tmp_path: Path, text: str, seconds: float | None) -> None:
    path = tmp_path / "f.cfg"
    plan = read(path, f"{HEAD}    timeout http-request {text}\n").plan
    assert (plan.frontends[0].timeouts.http_request_s if plan is not None else None) == seconds
    assert judged_by_haproxy(path) == (seconds is not None)


@pytest.mark.parametrize(
    ("text", "size"),
    [("20000", 20000), ("32k", 32768), ("32K", 32768), ("1m", 1 << 20), ("1g", 1 << 30), ("1.5k", None), ("1kb", None), ("k", None)],
)
def test_2_6_sizes(tmp_path: Path, text: str, size: int | None) -> None:
    plan = read(tmp_path / "f.cfg", f"global\n    tune.bufsize {text}\n").plan
    assert (plan.global_.bufsize_bytes if plan is not None else None) == size


# -- 2.9 -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "addresses"),
    [
        (":18080", ["0.0.0.0:18080"]),
        ("*:18080", ["0.0.0.0:18080"]),
        (":::18080", ["[::]:18080"]),
        ("[::1]:18080", ["[::1]:18080"]),
        ("ip@127.0.0.1:18080", ["127.0.0.1:18080"]),
        ("ipv4@:18080,ipv6@:18081", ["0.0.0.0:18080", "[::]:18081"]),
        ("tcp4@127.0.0.1:18080-18082", ["127.0.0.1:18080", "127.0.0.1:18081", "127.0.0.1:18082"]),
        ("stream+ipv6@::1:18080", ["[::1]:18080"]),
        ("127.0.0.1:18080,:18081,", ["127.0.0.1:18080", "0.0.0.0:18081"]),
        ("abns@name", ["abns@name"]),
        ("unix@path", ["unix@path"]),
        ("/path", ["unix@/path"]),
        ("uxst@/path", ["unix@/path"]),
        (":18080,,:18081", None),
        (",:18080", None),
        (",", None),
        ("$UNSET:", None),
        ("${UNSET}", None),
        ("127.0.0.1", None),
        ("127.0.0.1:0", None),
        (":18082-18080", None),
        (":18080-", None),
        (":65536", None),
        (":+1", None),
        ("dgram+ipv4@:18080", None),
        ("udp@:18080", None),
        ("uxdg@/path", None),
        ("fd@x", None),
        ("fd@99999999999", None),
    ],
)
def test_2_9_addresses(tmp_path: Path, words: str, addresses: list[str] | None) -> None:
    path = tmp_path / "f.cfg"
    plan = read(path, f"frontend f\n    timeout client 1s\n    bind {words}\n").plan
    assert ([str(b.address) for b in plan.frontends[0].binds] if plan is not None else None) == addresses
    assert judged_by_haproxy(path) == (addresses is not None)


@pytest.mark.parametrize(
    "words", ["server s fd@3", "server s 127.0.0.1:80 check addr fd@3", "source fd@3", "source /path", "dispatch fd@3"]
)
def test_2_9_nobody_connects_to_a_descriptor_nor_from_a_path(tmp_path: Path, words: str) -> None:
    result = read(tmp_path / "f.cfg", f"listen l\n    {words}\n")
    assert result.plan is None and words.split()[-1] in result.diagnostics.messages[0].text


# -- 2.10 ----------------------------------------------------------------------------------------------------------------

SIMPLE = """\
    # Simple configuration for an HTTP proxy listening on port 80 on all
    # interfaces and forwarding requests to a single backend "servers" with a
    # single server "server1" listening on 127.0.0.1:8000
    global
        daemon
        maxconn 256

    defaults
        mode http
        timeout connect 5000ms
        timeout client 50000ms
        timeout server 50000ms

    frontend http-in
        bind *:80
        default_backend servers

    backend servers
        server server1 127.0.0.1:8000 maxconn 32
"""


def test_2_10_two_ways_of_one_proxy(tmp_path: Path) -> None:
    listen = "    listen http-in\n        bind *:80\n        server server1 127.0.0.1:8000 maxconn 32\n"
    single = SIMPLE.partition("    frontend")[0] + listen
    for text, backend in ((SIMPLE, "servers"), (single, "http-in")):
        result = read(tmp_path / "f.cfg", text)
        assert result.plan is not None and result.diagnostics.messages == []
        assert result.plan.global_.daemon and result.plan.global_.maxconn == 256
        (frontend,) = result.plan.frontends
        assert frontend.default_backend == backend
        (server,) = result.plan.backends[backend].servers
        assert (str(server.address), server.maxconn) == ("127.0.0.1:8000", 32)
