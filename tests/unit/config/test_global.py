"""The global section: keyword by keyword into plan.Global, limits derived from each other, and nothing forgotten."""

from __future__ import annotations

import math
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from forkproxy import registry
from forkproxy.config import known
from forkproxy.config.diagnostics import Severity
from forkproxy.config.keywords import global_
from forkproxy.config.load import load, register
from forkproxy.config.options import Options
from forkproxy.plan import Global
from tests.unit.rules.support import make_txn
from tests.unit.rules.test_jwe import PLAIN, SECRET, TOKEN


def read(tmp_path: Path, lines: str, rest: str = "", **options: Any) -> Global:
    path = tmp_path / "f.cfg"
    path.write_text("global\n" + "".join(f" {line}\n" for line in lines.splitlines()) + rest)
    result = load([str(path)], Options(**options))
    assert result.plan is not None, result.diagnostics.lines()
    return result.plan.global_


def complaint(tmp_path: Path, line: str) -> str:
    path = tmp_path / "f.cfg"
    path.write_text(f"global\n {line}\n")
    result = load([str(path)], Options())
    assert result.plan is None
    return result.diagnostics.messages[0].text


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("daemon", "daemon", True),
        ("master-worker", "master_worker", True),
        ("mworker-max-reloads 3", "max_reloads", 3),
        ("nbthread 4", "nbproc", 4),
        ("nbproc 3", "nbproc", 3),
        ("pidfile /run/x.pid", "pidfile", "/run/x.pid"),
        ("chroot /var/empty", "chroot", "/var/empty"),
        ("user root", "uid", 0),
        ("group root", "gid", 0),
        ("uid 33", "uid", 33),
        ("gid 33", "gid", 33),
        ("hard-stop-after 30s", "hard_stop_after_s", 30.0),
        ("grace 1500", "grace_s", 1.5),
        ("close-spread-time 10s", "close_spread_s", 10.0),
        ("close-spread-time infinite", "close_spread_s", math.inf),
        ("node n-1.x", "node", "n-1.x"),
        ("description a b", "description", "a b"),
        ("log-tag lb", "log_tag", "lb"),
        ("log-send-hostname h", "log_send_hostname", "h"),
        ("maxconn 1000", "maxconn", 1000),
        ("maxpipes 7", "maxpipes", 7),
        ("maxconnrate 7", "maxconnrate", 7),
        ("maxsessrate 7", "maxsessrate", 7),
        ("tune.cli.max-payload-size 2m", "cli_payload_bytes", 2 << 20),
        ("ulimit-n 4096", "ulimit_n", 4096),
        ("spread-checks 5", "spread_checks_percent", 5),
        ("max-spread-checks 15s", "max_spread_checks_s", 15.0),
        ("nosplice", "nosplice", True),
        ("tune.disable-fast-forward", "nosplice", True),
        ("quiet", "quiet", True),
        ("zero-warning", "zero_warning", True),
        ("stats timeout 30s", "stats_timeout_s", 30.0),
        ("stats maxconn 3", "stats_maxconn", 3),
        ("tune.bufsize 32k", "bufsize_bytes", 32768),
        ("tune.bufsize 16385", "bufsize_bytes", 16400),
        ("tune.maxrewrite 4096", "maxrewrite_bytes", 4096),
        ("tune.maxrewrite 16384", "maxrewrite_bytes", 8192),
        ("tune.http.maxhdr 200", "maxhdr", 200),
        ("tune.maxaccept 7", "maxaccept", 7),
        ("tune.maxaccept 0", "maxaccept", 64),
        ("tune.maxaccept -1", "maxaccept", 1 << 20),
        ("tune.maxpollevents 33", "maxpollevents", 33),
        ("tune.maxpollevents 0", "maxpollevents", 200),
        ("tune.pipesize 1m", "pipesize_bytes", 1 << 20),
        ("tune.rcvbuf.client 4k", "rcvbuf_client_bytes", 4096),
        ("tune.rcvbuf.server 4k", "rcvbuf_server_bytes", 4096),
        ("tune.sndbuf.client 4k", "sndbuf_client_bytes", 4096),
        ("tune.sndbuf.server 4k", "sndbuf_server_bytes", 4096),
    ],
)
def test_keywords(tmp_path: Path, line: str, field: str, value: object) -> None:
    assert getattr(read(tmp_path, line), field) == value


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("user nobodyx", "cannot find user id for 'nobodyx'"),
        ("group nobodyx", "cannot find group id for 'nobodyx'"),
        ("nbthread 0", "'nbthread' value must be between 1 and 256 (was 0)."),
        ("spread-checks 90", "'spread-checks' needs a positive value in range 0..50."),
        ("tune.http.maxhdr 40000", "'tune.http.maxhdr' expects a numeric value between 1 and 32767"),
        ("tune.bufsize abc", "'tune.bufsize' : unexpected character 'a' in 'abc'"),
        ("grace x", "unexpected character 'x' in 'grace'"),
        ("close-spread-time x", "unexpected character 'x' in 'close-spread-time'"),
        ("node a/b", "'node' requires valid node name - non-empty string with digits(0-9), letters(A-Z, a-z), dot(.), hyphen(-) "
                     "or underscode(_)."),
        ("setenv a", "'setenv' expects a name and a value."),
        ("presetenv a b c", "'presetenv' cannot handle unexpected argument 'c'."),
        ("setenv a=b c", "'setenv' failed on variable 'a=b' : Invalid argument."),
        ("unsetenv", "'unsetenv' expects at least one variable name."),
        ("stats", "'stats' expects one of: bind-process, maxconn, socket, timeout."),
        ("stats foo", "'stats' supports 'bind-process', 'maxconn', 'socket' and 'timeout' (got 'foo')"),
        ("stats socket", "'stats socket' in global section expects an address or a path to a UNIX socket"),
        ("stats socket /x foo", "'stats socket' : unknown keyword 'foo'; did you mean 'tfo' maybe ?"),
        ("stats socket /x mode 9", "'stats socket' : 'mode' : missing or invalid mode '9' (octal integer expected)"),
        ("stats socket /x level root", "'stats socket' : 'level' only supports 'user', 'operator', and 'admin' (got 'root')"),
        ("stats timeout 0", "'stats timeout' expects a positive value"),
        ("stats maxconn 0", "'stats maxconn' expects a positive value"),
        ("log", "log : expects <address> and <facility> as arguments"),
        ("log global local0", "log : 'global' is not supported for a global syslog server"),
        ("log 127.0.0.1 foo", "log : unknown log facility 'foo'"),
        ("log 127.0.0.1 local0 bar", "log : unknown optional log level 'bar'"),
        ("log 127.0.0.1 local0 info err x", "log : cannot handle unexpected argument 'x'"),
        ("log 127.0.0.1 len 10 local0", "log : invalid log length '10', must be between 80 and 65535"),
        ("log 127.0.0.1 format x local0", "log : unknown log format 'x'"),
        ("log 127.0.0.1 sample 1:x local0", "log : wrong sample size 'x' for sample range '1'"),
        ("log 127.0.0.1 sample 2,2:3 local0", "log : ranges are overlapping"),
        ("log 127.0.0.1 sample 4:3 local0",
         "log : sample size 3 should be greater or equal to 4 the maximum of the high ranges limits"),
        ("log 127.0.0.1:x local0", "log : invalid character 'x' in port number 'x' in '127.0.0.1:x'"),
        ("log ring@r local0", "log : ring 'r' is declared nowhere"),
        ("default-path foo", "'default-path' expects 'current', 'config', 'parent' or 'origin' (got 'foo')."),
        ("unix-bind foo", "'unix-bind' only supports the 'prefix', 'mode', 'uid', 'gid', 'user' and 'group' options."),
        ("quiet x", "'quiet' cannot handle unexpected argument 'x'."),
    ],
)  # fmt: skip
def test_complaints(tmp_path: Path, line: str, text: str) -> None:
    assert complaint(tmp_path, line) == text


def test_a_second_maxconn_is_reported_and_the_first_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "f.cfg"
    path.write_text("global\n maxconn 5\nglobal\n maxconn 6\n")
    result = load([str(path)], Options())
    assert result.plan is not None and result.plan.global_.maxconn == 5
    (message,) = result.diagnostics.messages
    assert message.text == "'maxconn' already specified. Continuing."
    assert message.render(1).startswith("[ALERT]    (1) : ") and not result.diagnostics.warned


def test_the_command_line_has_precedence(tmp_path: Path) -> None:
    made = read(tmp_path, "maxconn 10\npidfile /a", maxconn=20, pidfile="/b", no_splice=True, zero_warning=True)
    assert (made.maxconn, made.pidfile, made.nosplice, made.zero_warning) == (20, "/b", True, True)
    assert not read(tmp_path, "daemon", foreground=True).daemon
    assert not read(tmp_path, "quiet", verbose=True).quiet
    assert read(tmp_path, "", daemon=True).daemon
    assert read(tmp_path, "nbthread 8", debug=True).nbproc == 1


def test_one_worker_per_usable_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 3, 5})
    assert read(tmp_path, "").nbproc == 3


def test_maxconn_follows_from_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, 20_064))
    made = read(tmp_path, "")
    assert (made.maxconn, made.maxpipes) == (10_000, 2_500)
    assert made.ulimit_n == 2 * made.maxconn + global_.OWN_FDS
    assert read(tmp_path, "fd-hard-limit 2064").maxconn == 1000
    assert read(tmp_path, "ulimit-n 4064").maxconn == 2000
    assert read(tmp_path, "maxconn 100").ulimit_n == 200 + global_.OWN_FDS
    splicing = "defaults\n timeout client 1s\n timeout server 1s\n timeout connect 1s\nlisten l\n bind :18081\n option splice-auto\n"
    made = read(tmp_path, "", splicing)
    assert made.ulimit_n <= 20_064 and made.maxconn == 7999
    assert made.ulimit_n == 2 * made.maxconn + 2 * made.maxpipes + global_.OWN_FDS + 1


def test_maxconn_follows_from_the_memory_limit_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (20_000, 20_000))
    path = tmp_path / "f.cfg"
    path.write_text("frontend f\n bind :18080\n")

    def maxconn(memory_mb: int) -> int:
        result = load([str(path)], Options(memory_limit_mb=memory_mb))
        assert result.plan is not None
        return result.plan.global_.maxconn

    assert (maxconn(0), maxconn(100_000), maxconn(180), maxconn(10)) == (9967, 9967, 100 * 1024 // 48, 1)
    path.write_text("global\n maxconn 50\nfrontend f\n bind :18080\n")
    assert maxconn(10) == 50  # said is said


def test_infinite_limits_mean_haproxys_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, resource.RLIM_INFINITY))
    assert read(tmp_path, "").maxconn == (global_.DEFAULT_MAX_FDS - global_.OWN_FDS) // 2


def test_log_targets(tmp_path: Path) -> None:
    made = read(
        tmp_path,
        "log 127.0.0.1 local0\nlog [::1]:5514 len 2000 format rfc5424 sample 1,3-4:5 daemon info err\nlog stdout format raw local7 notice\n"
        "log /dev/log user\nlog fd@2 format short daemon",
    ).log_targets
    first, second, third, fourth, fifth = made
    assert str(first.address) == "127.0.0.1:514" and first.address is not None and first.address.kind == "dgram"
    assert (first.facility, first.level, first.minlevel, first.format, first.length) == (16, 7, 0, "local", 1024)
    assert str(second.address) == "[::1]:5514"
    assert (second.length, second.format, second.facility, second.level, second.minlevel) == (2000, "rfc5424", 3, 6, 3)
    assert (second.sample_ranges, second.sample_size) == (((1, 1), (3, 4)), 5)
    assert (third.address, third.stream, third.format, third.facility, third.level) == (None, "stdout", "raw", 23, 5)
    assert str(fourth.address) == "unix@/dev/log"
    assert (fifth.stream, fifth.format) == ("stderr", "short")


def test_a_hostname_changes_the_default_log_format_wherever_it_stands(tmp_path: Path) -> None:
    made = read(tmp_path, "log 127.0.0.1 local0\nlog 127.0.0.1 format raw local0\nlog-send-hostname h")
    assert [t.format for t in made.log_targets] == ["rfc3164", "raw"]


def test_no_log_drops_what_was_said(tmp_path: Path) -> None:
    assert read(tmp_path, "log 127.0.0.1 local0\nno log\nlog 127.0.0.2 local0").log_targets[0].address is not None
    assert len(read(tmp_path, "log 127.0.0.1 local0\nno log\nlog 127.0.0.2 local0").log_targets) == 1


def test_stats_sockets_and_the_endpoint(tmp_path: Path) -> None:
    made = read(tmp_path, "stats socket /run/a.sock mode 660 level admin user root expose-fd listeners\n"
                          "stats socket ipv4@127.0.0.1:9999 level user\nstats-endpoint 127.0.0.1:9101")  # fmt: skip
    first, second = made.stats_sockets
    assert (str(first.address), first.mode, first.level, first.uid, first.expose_fd_listeners) == (
        "unix@/run/a.sock", 0o660, "admin", 0, True,
    )  # fmt: skip
    assert (str(second.address), second.level) == ("127.0.0.1:9999", "user")
    assert [str(b.address) for b in made.stats_endpoint] == ["127.0.0.1:9101"]


def test_master_sockets_come_from_the_command_line(tmp_path: Path) -> None:
    first, second = read(tmp_path, "", master_sockets=("/run/m.sock,mode,600,level,user", "fd@3")).master_sockets
    assert (str(first.address), first.mode, first.level) == ("unix@/run/m.sock", 0o600, "user")
    assert (str(second.address), second.level) == ("fd@3", "admin")


def test_a_wrong_master_socket_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "f.cfg").write_text("global\n")
    result = load([str(tmp_path / "f.cfg")], Options(master_sockets=("/x,foo",)))
    assert result.plan is None
    assert result.diagnostics.messages[0].text == "-S /x,foo : '-S' : unknown keyword 'foo'; did you mean 'tfo' maybe ?"


def test_unix_bind_gives_what_a_bind_does_not_say(tmp_path: Path) -> None:
    path = tmp_path / "f.cfg"
    path.write_text(
        "listen l\n bind unix@/a.sock mode 600\n bind :18081\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n"
        "global\n unix-bind prefix /run/x mode 770 user root gid 5\n"
    )
    plan = load([str(path)], Options()).plan
    assert plan is not None
    first, second = plan.frontends[0].binds
    assert (first.address.host, first.mode, first.uid, first.gid) == ("/run/x/a.sock", 0o600, 0, 5)
    assert (second.mode, second.uid) == (None, None)


def test_switches_without_a_field(tmp_path: Path) -> None:
    options = read(tmp_path, "no strict-limits\nnoreuseport").options
    assert (options["strict_limits"], options["noreuseport"]) == (False, True)


#: Features that a configuration relies on and that are missing: refused by name, never ignored.
REFUSED_FAMILIES = (
    "51degrees-", "acme.", "deviceatlas-", "h1-", "harden.", "http-err-codes", "http-fail-codes", "lua-",
    "wurfl-", "set-var", "setcap", "ssl-engine", "ssl-mode-async", "ssl-passphrase-cmd", "ssl-propquery", "ssl-provider",
    "stats-file", "external-check", "pp2-never-send-local",
)  # fmt: skip


def test_every_global_keyword_of_haproxy_is_honoured_noted_or_refused(tmp_path: Path) -> None:
    register()
    have = {name for section, name in registry.KEYWORDS if section == "global"}
    missing = {n for n in known.names("global") - have if not n.startswith(REFUSED_FAMILIES)}
    assert missing == set()
    for name in ("lua-load", "ssl-engine", "setcap"):
        assert complaint(tmp_path, f"{name} x") == f"'{name}' is known to HAProxy, not supported by forkproxy yet"


def test_what_tokens_may_be_opened(tmp_path: Path) -> None:
    """The lists reach the rules of proxies, also when they stand behind them."""
    rule = f"http-request set-var(txn.plain) str({TOKEN.decode()}),jwt_decrypt_secret({SECRET})"
    for lists, expected in (
        ("", PLAIN), ("jwt.decrypt_alg_list ALL:!A128KW", b""), ("jwt.decrypt_enc_list A128GCM", b""), ("jwt.decrypt_enc_list ALL", PLAIN),
    ):  # fmt: skip
        path = tmp_path / "f.cfg"
        path.write_text(f"frontend f\n mode http\n timeout client 1s\n bind 127.0.0.1:1\n {rule}\nglobal\n {lists}\n")
        plan = load([str(path)], Options()).plan
        assert plan is not None
        txn = make_txn()
        for step in plan.frontends[0].http_request or ():
            step(txn)
        assert txn.vars and txn.vars["txn.plain"] == expected, lists
    assert complaint(tmp_path, "jwt.decrypt_enc_list A128").startswith("'jwt.decrypt_enc_list' : 'A128' is not one of ALL, A128CBC-HS256")


def test_every_keyword_of_ours_is_documented() -> None:
    register()
    undocumented = [name for (section, name), entry in registry.KEYWORDS.items() if section in ("global", "userlist") and not entry.doc]
    assert undocumented == []


def test_accepted_keywords_never_warn(tmp_path: Path) -> None:
    register()
    names = [name for (section, name), entry in registry.KEYWORDS.items() if section == "global" and entry.note]
    path = tmp_path / "f.cfg"
    path.write_text("global\n" + "".join(f" {name} 1\n" for name in names))
    result = load([str(path)], Options())
    assert result.plan is not None
    assert len(result.diagnostics.messages) == len(names) > 150
    assert {m.severity for m in result.diagnostics.messages} == {Severity.NOTE}
