"""The command line: every option of the manual, exit statuses, versions, messages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from forkproxy import cli
from forkproxy.arguments import parse
from forkproxy.config.options import Options

GOOD = """\
defaults
    mode http
    timeout client 5s
    timeout server 5s
    timeout connect 1s
frontend web
    bind 127.0.0.1:18080
"""


@pytest.mark.parametrize(
    ("argv", "field", "value"),
    [
        (["-f", "a", "-f", "b"], "files", ("a", "b")),
        (["-fa"], "files", ("a",)),
        (["-f", "a", "--", "b", "-c"], "files", ("a", "b", "-c")),
        (["-c"], "check", True),
        (["-cc", "1"], "condition", "1"),
        (["-C", "/tmp"], "change_dir", "/tmp"),
        (["-D"], "daemon", True),
        (["-W"], "master_worker", True),
        (["-Ws"], "notify", True),
        (["-Ws"], "master_worker", True),
        (["-db"], "foreground", True),
        (["-d"], "debug", True),
        (["-dD"], "diag", True),
        (["-dK", "-c"], "dump_keywords", ("help",)),
        (["-dKcfg,acl"], "dump_keywords", ("cfg", "acl")),
        (["-dL"], "list_libraries", True),
        (["-dr"], "ignore_resolution", True),
        (["-dV"], "no_server_verify", True),
        (["-dW"], "zero_warning", True),
        (["-dS"], "no_splice", True),
        (["-dF"], "no_splice", True),
        (["-dZ"], "no_splice", True),
        (["-dR"], "no_reuseport", True),
        (["-dC"], "dump_config", ""),
        (["-dC17"], "dump_config", "17"),
        (["-dt", "h1", "-c"], "check", True),
        (["-dt", "-c"], "check", True),
        (["-m", "512"], "memory_limit_mb", 512),
        (["-n", "100"], "maxconn", 100),
        (["-n100"], "maxconn", 100),
        (["-N", "10"], "proxy_maxconn", 10),
        (["-L", "me"], "localpeer", "me"),
        (["-p", "/run/x"], "pidfile", "/run/x"),
        (["-q"], "quiet", True),
        (["-q", "-V"], "quiet", False),
        (["-V"], "verbose", True),
        (["-S", "/a,mode,600", "-S", "fd@3"], "master_sockets", ("/a,mode,600", "fd@3")),
        (["-sf", "1", "2", "-c"], "sf_pids", (1, 2)),
        (["-sf", "1 2", "-c"], "sf_pids", (1, 2)),
        (["-sf"], "sf_pids", ()),
        (["-st", "3"], "st_pids", (3,)),
        (["-x", "/sock"], "x_socket", "/sock"),
        (["-4", "-dG", "-dI", "-dM", "-dMno-merge", "-dT", "-dc", "-de", "-dk", "-dp", "-dv", "-dA/x", "-c"], "check", True),
    ],
)
def test_options(argv: list[str], field: str, value: object) -> None:
    options, version = parse(argv)
    assert (getattr(options, field), version) == (value, "")


@pytest.mark.parametrize(
    "argv", [[], ["foo"], ["-f"], ["-z"], ["-dQ"], ["-n", "x"], ["-n"], ["-sf", "x"], ["-cc"], ["-c"], ["-"], ["-Wx"]]
)
def test_wrong_arguments_show_the_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and "Usage : forkproxy [-f <cfgfile|cfgdir>]*" in shown.err


@pytest.mark.parametrize(("argv", "out"), [(["-vq"], "3.4.0\n"), (["-vqb"], "3.4\n"), (["-v"], cli.banner() + "\n")])
def test_versions(argv: list[str], out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    assert capsys.readouterr().out == out


def test_the_first_line_can_be_parsed_as_tools_do() -> None:
    words = cli.banner().split()
    assert words[1] == "version" and words[2].split(".")[:2] == ["3", "4"]
    assert "forkproxy" in cli.banner()


def test_the_long_version_lists_features(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-vv"]) == 0
    out = capsys.readouterr().out
    assert "\nFeature list : " in out and " +EPOLL " in out and " -OPENSSL " in out


@pytest.mark.parametrize(
    ("condition", "status"),
    [("1", 0), ("0", 1), ("", 1), ("version_atleast(2.4)", 0), ("feature(OPENSSL)", 1), ("foo(", 2), ('streq(a,"b)', 2),
     ('streq(\\"a b\\",\\"a b\\")', 0)],
)  # fmt: skip
def test_conditions(condition: str, status: int) -> None:
    assert cli.main(["-cc", condition]) == status


def check(tmp_path: Path, text: str, *argv: str) -> int:
    path = tmp_path / "f.cfg"
    path.write_text(text)
    return cli.main(["-c", "-f", str(path), *argv])


def test_a_good_file_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, GOOD) == 0
    assert capsys.readouterr() == ("", "")
    assert check(tmp_path, GOOD, "-V") == 0
    assert capsys.readouterr().out == "Configuration file is valid\n"


def test_warnings_are_fatal_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '.warning "w"\n' + GOOD
    assert check(tmp_path, text, "-V") == 0
    shown = capsys.readouterr()
    assert shown.out == "Warnings were found.\nConfiguration file is valid\n"
    assert f"[WARNING]  ({os.getpid()}) : config : parsing [{tmp_path / 'f.cfg'}:1] : 'w'." in shown.err
    for zero, argv in (("", ["-dW"]), ("global\n zero-warning\n", [])):
        assert check(tmp_path, text + zero, *argv) == 1
        assert "Some warnings were found and 'zero-warning' is set. Aborting." in capsys.readouterr().err


def test_notes_are_shown_when_asked_and_never_fatal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "global\n thread-groups 1\n" + GOOD
    assert check(tmp_path, text, "-dW") == 0
    assert capsys.readouterr() == ("", "")
    for flag in ("-V", "-dD"):
        assert check(tmp_path, text, flag, "-dW") == 0
        assert "'thread-groups' : forkproxy has no threads" in capsys.readouterr().err


def test_diag_lines_need_dD(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '.diag "d"\n.notice "n"\n' + GOOD
    assert check(tmp_path, text) == 0
    err = capsys.readouterr().err
    assert "'n'." in err and "'d'." not in err
    assert check(tmp_path, text, "-dD", "-dW") == 0
    assert "[DIAG]     " in capsys.readouterr().err


def test_errors_come_with_the_version_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, "global\n foo\n") == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    pid, file = os.getpid(), tmp_path / "f.cfg"
    assert shown.err.splitlines() == [
        f"[NOTICE]   ({pid}) : haproxy version is 3.4.0",
        f"[ALERT]    ({pid}) : config : parsing [{file}:2] : unknown keyword 'foo' in 'global' section",
        "  foo",
        "  ^",
        f"[ALERT]    ({pid}) : config : Error(s) found in configuration file : {file}",
        f"[ALERT]    ({pid}) : config : Fatal errors found in configuration.",
    ]


def test_no_listener(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, "global\n") == 2
    assert capsys.readouterr().out == "Configuration file has no error but will not start (no listener) => exit(2).\n"
    assert check(tmp_path, "global\n", "-q") == 2
    assert capsys.readouterr().out == ""
    assert check(tmp_path, "global\n stats socket /tmp/x\n") == 0
    assert check(tmp_path, GOOD + " disabled\n") == 2
    assert cli.main(["-f", str(tmp_path / "f.cfg")]) == 1
    assert "No enabled listener found (check for 'bind' directives) ! Exiting." in capsys.readouterr().err


def test_a_missing_file_and_a_missing_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-c", "-f", str(tmp_path / "no")]) == 1
    assert "config : Cannot open configuration file/directory" in capsys.readouterr().err
    assert cli.main(["-C", str(tmp_path / "no"), "-c", "-f", "x"]) == 1
    assert f"Could not change to directory {tmp_path / 'no'} : No such file or directory" in capsys.readouterr().err


def test_relative_files_after_a_change_of_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    (tmp_path / "f.cfg").write_text(GOOD)
    assert cli.main(["-C", str(tmp_path), "-c", "-f", "f.cfg"]) == 0


def test_the_dump_reads_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "global\n description \"a b\" 'c\"d' \\#e\n" + GOOD
    assert check(tmp_path, text, "-dC") == 0
    out = capsys.readouterr().out
    assert out.startswith("global\n\tdescription 'a b' 'c\"d' '#e'\n\ndefaults\n\tmode http\n")
    assert check(tmp_path, out, "-dC") == 0
    assert capsys.readouterr().out == out


def test_libraries_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, GOOD, "-dL") == 0
    lines = capsys.readouterr().out.splitlines()
    assert os.path.realpath(sys.executable) in lines and all(line.startswith("/") for line in lines)


def test_running_gets_plan_and_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from forkproxy.master import main as master

    seen: list[Any] = []

    def run(plan: Any, options: Options) -> int:
        seen.append((plan, options))
        return 7

    monkeypatch.setattr(master, "run", run)
    (tmp_path / "f.cfg").write_text(GOOD)
    assert cli.main(["-db", "-f", str(tmp_path / "f.cfg")]) == 7
    assert seen[0][0].frontends[0].name == "web" and seen[0][1].foreground


def test_the_version_comes_quickly() -> None:
    """CPU time, since the machine may be busy: scripts ask for the version often."""
    before = os.times()
    subprocess.run([sys.executable, "-m", "forkproxy.cli", "-vq"], check=True, stdout=subprocess.DEVNULL, timeout=30)
    after = os.times()
    assert after.children_user - before.children_user < 0.25
