"""The entrance: files, sections, conditional blocks, environment, and every kind of complaint in one run."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from forkproxy.config import known
from forkproxy.config.diagnostics import Severity
from forkproxy.config.load import Result, load
from forkproxy.config.options import Options
from forkproxy.config.sections import REFUSED_SECTIONS, SECTIONS

GOOD = """\
defaults
    mode http
    timeout client 5s
    timeout server 5s
    timeout connect 1s
frontend web
    bind 127.0.0.1:18080
    default_backend app
backend app
    server a 127.0.0.1:19001
"""


def run(tmp_path: Path, text: str, **options: object) -> Result:
    path = tmp_path / "f.cfg"
    path.write_text(text)
    return load([str(path)], Options(**options))  # type: ignore[arg-type]


def alerts(result: Result) -> list[str]:
    """``line: text`` of every alert; 0 where it belongs to no line."""
    return [f"{m.line}: {m.text}" for m in result.diagnostics.messages if m.severity is Severity.ALERT]


def first_alerts(tmp_path: Path, text: str) -> list[str]:
    """The alerts before the closing sentences."""
    return [a for a in alerts(run(tmp_path, text)) if not a.startswith("0: ")]


def test_a_good_file_gives_a_plan_and_no_message(tmp_path: Path) -> None:
    result = run(tmp_path, GOOD)
    assert result.diagnostics.messages == []
    assert result.plan is not None
    assert [f.name for f in result.plan.frontends] == ["web"]
    assert list(result.plan.backends) == ["app"]
    assert result.plan.files == result.files == (str(tmp_path / "f.cfg"),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("global\n foo\n", ["2: unknown keyword 'foo' in 'global' section"]),
        ("defaults\n tiemout client 3s\n",
         ["2: unknown keyword 'tiemout' in 'defaults' section; did you mean 'timeout' maybe ?"]),
        ("frontend f\n bind :18081\n defualt_backend b\n",
         ["3: unknown keyword 'defualt_backend' in 'frontend' section; did you mean 'default_backend' maybe ?"]),
        ("listne x\n", ["1: unknown keyword 'listne' out of section.; did you mean 'listen' maybe ?"]),
        ("global\nlistne x\n", ["2: unknown keyword 'listne' in 'global' section; did you mean 'listen' maybe ?"]),
        ("defaults\n option httplgo\n", ["2: unknown option 'httplgo'; did you mean 'httplog' maybe ?"]),
        ("defaults\n option\n", ["2: 'option' expects an option name."]),
        ("defaults\n compression algo gzip\n", ["2: 'compression' is known to HAProxy, not supported by forkproxy yet"]),
        ("defaults\n email-alert to x\n", ["2: 'email-alert to' is known to HAProxy, not supported by forkproxy yet"]),
        ("global\n lua-load x\n", ["2: 'lua-load' is known to HAProxy, not supported by forkproxy yet"]),
        ("peers p\n peer a 1.2.3.4:5\n", ["1: section 'peers' is known to HAProxy, not supported by forkproxy yet"]),
        ("resolvers r\n", ["1: section 'resolvers' is known to HAProxy, not supported by forkproxy yet"]),
        ("global\n no maxconn\n",
         ["2: negation/default currently supported only for options, log, busy-polling, set-dumpable, strict-limits, "
          "insecure-fork-wanted and numa-cpu-mapping."]),
        ("backend b\n filter x\n", ["2: unknown filter 'x'."]),
        ("backend b\n compression algo gzip\n", ["2: 'compression' is known to HAProxy, not supported by forkproxy yet"]),
        ("global x\n", ["1: 'global' cannot handle unexpected argument 'x'."]),
        ("frontend\n", ["1: 'frontend' expects an <id> argument"]),
        ("listen a/b\n bogus\n", ["1: character '/' is not permitted in 'listen' name 'a/b'."]),
        ("backend c from x\n", ["1: defaults section 'x' not found for backend 'c'."]),
        ("backend c form x\n", ["1: 'backend' cannot handle unexpected argument 'form'."]),
        ("defaults d1\nbackend c from d2\n",
         ["2: defaults section 'd2' not found for backend 'c'."]),
        ("backend b\nbackend b\n", ["2: backend 'b' has the same name as backend 'b' declared at {f}:1."]),
        ("frontend a\nlisten a\n", ["2: proxy 'a' has the same name as frontend 'a' declared at {f}:1."]),
        ("userlist u\nuserlist u\n", ["2: userlist 'u' has the same name as another userlist declared at {f}:1."]),
        ("userlist u\n user\n", ["2: 'user' expects <name> as argument."]),
        ("userlist u\n group g users nobody\n user a password x groups h\n",
         ["3: userlist 'u': no such group 'h' specified in user 'a'.", "2: userlist 'u': no such user 'nobody' specified in group 'g'."]),
        ("http-errors e\n errorfile 400 /nonexistent\n errorfile\n errorfile 777 /x\n",
         ["2: errorfile : error opening file '/nonexistent'.", "3: errorfile: expects <status_code> and <file> as arguments.",
          "4: errorfile : status code '777' not handled."]),
        ('global\n log-tag "a\n', ["2: unmatched quote at position 10:"]),
        ('global\n log-tag "" b\n',
         ["2: argument number 1 at position 10 is empty and marks the end of the argument list; all subsequent arguments would be ignored.",
          "2: 'log-tag' expects a tag for use in syslog as argument."]),
        (".if foo(\n", ["1: unparsable conditional expression 'foo(' in '.if' at position 1:"]),
        ('.if 0\n "x\n.endif\n', ["2: unmatched quote at position 2:"]),
        ("global\n.if 1\n", ["2: non-terminated '.if' block."]),
        (".endif\n", ["1: lone '.endif' with no matching '.if'."]),
        (".if 1\n.endif x\n", ["2: Unexpected argument 'x' for '.endif'."]),
        (".alret x\n", ["1: unknown directive '.alret'; did you mean '.alert' maybe ?."]),
        (".alert a b\n", ["1: Unexpected argument 'b' for '.alert'. Use quotes if the message should contain spaces."]),
        ('.alert "a b"\n', ["1: 'a b'."]),
        ("global", ["1: Missing LF on last line, file might have been truncated at position 7."]),
    ],
)  # fmt: skip
def test_complaints(tmp_path: Path, text: str, expected: list[str]) -> None:
    file = str(tmp_path / "f.cfg")
    assert first_alerts(tmp_path, text) == [e.replace("{f}", file) for e in expected]


def test_all_errors_come_in_one_run_and_the_file_is_named_last(tmp_path: Path) -> None:
    result = run(tmp_path, "global\n foo\n bar\nfrontend f\n bind :18081\n default_backend nowhere\n")
    found = alerts(result)
    assert result.plan is None
    assert found[:2] == ["2: unknown keyword 'foo' in 'global' section", "3: unknown keyword 'bar' in 'global' section"]
    assert found[2] == f"0: Error(s) found in configuration file : {tmp_path / 'f.cfg'}"
    assert found[3].startswith("6: Proxy 'f': unable to find required default_backend: 'nowhere'.")
    assert found[-1] == "0: Fatal errors found in configuration."


def test_a_message_shows_the_line_and_a_mark_under_the_word(tmp_path: Path) -> None:
    result = run(tmp_path, "global\n\tmaxconn  10 x   # comment\n")
    assert result.diagnostics.lines(pid=7)[0] == (
        f"[ALERT]    (7) : config : parsing [{tmp_path / 'f.cfg'}:2] : 'maxconn' cannot handle unexpected argument 'x'.\n"
        "  maxconn  10 x   # comment\n"
        "              ^"
    )


def test_long_lines_are_cut_around_the_mark(tmp_path: Path) -> None:
    result = run(tmp_path, f"global\n description {'a' * 500}\n maxconn 1 {'b ' * 300}\n")
    _text, source, mark = result.diagnostics.lines(pid=7)[0].splitlines()
    assert len(source) <= 164 and source[mark.index("^")] == "b"


def test_levels_of_messages(tmp_path: Path) -> None:
    result = run(tmp_path, '.notice n\n.warning w\n.diag d\n.notice\n' + GOOD)
    assert [(m.severity.name, m.text) for m in result.diagnostics.messages] == [
        ("NOTICE", "'n'."), ("WARNING", "'w'."), ("DIAG", "'d'."), ("NOTICE", "''."),
    ]  # fmt: skip
    assert result.plan is not None and result.diagnostics.warned


def test_an_accepted_keyword_leaves_a_note_and_no_warning(tmp_path: Path) -> None:
    result = run(tmp_path, "global\n thread-groups 2\n no busy-polling\n" + GOOD)
    assert [m.severity for m in result.diagnostics.messages] == [Severity.NOTE, Severity.NOTE]
    assert result.plan is not None
    assert "forkproxy has no threads" in result.diagnostics.messages[0].text


def test_conditional_blocks_choose_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FP_NODE", "two")
    text = (
        'global\n.if streq("$FP_NODE",one)\n node n1\n bogus\n.elif streq("$FP_NODE",two) && version_atleast(3.0)\n node n2\n'
        ".else\n node n3\n.endif\n" + GOOD
    )
    result = run(tmp_path, text)
    assert result.plan is not None and result.plan.global_.node == "n2"


def test_environment_of_the_file_is_seen_by_later_lines_and_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FP_OLD", "old")
    monkeypatch.delenv("FP_NEW", raising=False)
    text = (
        "global\n setenv FP_NEW fresh\n presetenv FP_OLD ignored\n node \"${FP_NEW}-$FP_OLD\"\n unsetenv FP_OLD\n"
        ' description "${FP_OLD-gone}"\n' + GOOD
    )
    before = dict(os.environ)
    result = run(tmp_path, text)
    assert dict(os.environ) == before
    assert result.plan is not None
    made = result.plan.global_
    assert (made.node, made.description) == ("fresh-old", "gone")
    assert {name: text for name, text in made.options["environment"].items() if name[:3] == "FP_"} == {"FP_NEW": "fresh", "FP_OLD": None}
    again = run(tmp_path, text)
    assert again.plan is not None and again.plan.global_.node == "fresh-old"


def test_resetenv_keeps_only_what_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FP_KEEP", "k")
    monkeypatch.setenv("FP_DROP", "d")
    result = run(tmp_path, 'global\n resetenv FP_KEEP\n description "${FP_KEEP-x}${FP_DROP-y}"\n' + GOOD)
    assert result.plan is not None and result.plan.global_.description == "ky"
    assert os.environ["FP_DROP"] == "d"


def test_unquoted_variables_in_addresses(tmp_path: Path) -> None:
    result = run(tmp_path, "global\n setenv PORT 18099\n" + GOOD.replace(":18080", ":${PORT}").replace(":19001", ":$PORT"))
    assert result.plan is not None
    assert result.plan.frontends[0].binds[0].address.port == 18099
    assert result.plan.backends["app"].servers[0].address.port == 18099


def test_pseudo_variables(tmp_path: Path) -> None:
    result = run(tmp_path, 'global\n description "$.FILE:$.LINE:$.SECTION"\n' + GOOD)
    assert result.plan is not None
    assert result.plan.global_.description == f"{tmp_path / 'f.cfg'}:2:global"


def test_predefined_variables(tmp_path: Path) -> None:
    text = 'global\n description "$HAPROXY_BRANCH $HAPROXY_LOCALPEER ${HAPROXY_MWORKER-no} $HAPROXY_CFGFILES"\n' + GOOD
    result = run(tmp_path, text, localpeer="me")
    assert result.plan is not None
    assert result.plan.global_.description == f"3.4 me no {tmp_path / 'f.cfg'}"
    result = run(tmp_path, text, localpeer="me", master_worker=True)
    assert result.plan is not None and " me 1 " in result.plan.global_.description


def test_the_name_of_the_instance(tmp_path: Path) -> None:
    text = 'global\n localpeer named\n description "$HAPROXY_LOCALPEER"\n' + GOOD
    result = run(tmp_path, text)
    assert result.plan is not None and result.plan.global_.description == "named" and not result.diagnostics.warned
    result = run(tmp_path, text, localpeer="me")
    assert result.plan is not None and result.plan.global_.description == "me"
    assert ["'-L' command line argument" in m.text for m in result.diagnostics.messages] == [True]


def test_what_processes_find_in_their_environment(tmp_path: Path) -> None:
    sockets = "global\n stats socket /run/cli.sock level admin\n stats socket 127.0.0.1:18098,[::1]:18099\n"
    result = run(tmp_path, sockets + GOOD, localpeer="me", master_sockets=("/run/master.sock,mode,600", "127.0.0.1:18097"))
    assert result.plan is not None
    there = result.plan.global_.options["environment"]
    assert there["HAPROXY_CLI"] == "unix@/run/cli.sock;ipv4@127.0.0.1:18098;ipv6@::1:18099"
    assert there["HAPROXY_MASTER_CLI"] == "unix@/run/master.sock;ipv4@127.0.0.1:18097"
    assert (there["HAPROXY_LOCALPEER"], there["HAPROXY_CFGFILES"]) == ("me", str(tmp_path / "f.cfg"))
    assert "HAPROXY_CLI" not in os.environ


def test_log_formats_are_variables(tmp_path: Path) -> None:
    text = 'global\n description "$HAPROXY_TCP_LOG_FMT"\n' + GOOD
    result = run(tmp_path, text)
    assert result.plan is not None and result.plan.global_.description.startswith("%ci:%cp [%t]")


def test_directories_give_their_cfg_files_in_c_order(tmp_path: Path) -> None:
    for name, node in (("b.cfg", "b"), ("B.cfg", "B"), (".hidden.cfg", "h"), ("x.conf", "x"), ("a~", "t")):
        (tmp_path / name).write_text(f"global\n node {node}\n")
    (tmp_path / "dir.cfg").mkdir()
    (tmp_path / "z.cfg").write_text(GOOD)
    result = load([str(tmp_path)], Options())
    assert [os.path.basename(f) for f in result.files] == ["B.cfg", "b.cfg", "z.cfg"]
    assert result.plan is not None and result.plan.global_.node == "b"


def test_sections_end_with_their_file(tmp_path: Path) -> None:
    (tmp_path / "1.cfg").write_text("global\n")
    (tmp_path / "2.cfg").write_text(" maxconn 10\n")
    result = load([str(tmp_path / "1.cfg"), str(tmp_path / "2.cfg")], Options())
    assert alerts(result)[0].startswith("1: unknown keyword 'maxconn' out of section.")


def test_a_missing_file(tmp_path: Path) -> None:
    result = load([str(tmp_path / "no")], Options())
    assert alerts(result) == [f"0: Cannot open configuration file/directory {tmp_path / 'no'} : No such file or directory"]


def test_defaults_are_inherited_by_name_and_by_order(tmp_path: Path) -> None:
    text = (
        "defaults web\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
        "defaults slow from web\n timeout client 9s\n"
        "listen a\n bind :18081\nlisten b from web\n bind :18082\n"
    )
    result = run(tmp_path, text)
    assert result.plan is not None
    assert [(f.mode, f.timeouts.client_s) for f in result.plan.frontends] == [("http", 9.0), ("http", 1.0)]


def test_several_global_sections_add_up(tmp_path: Path) -> None:
    result = run(tmp_path, "global\n node n\n" + GOOD + "global\n description d\n")
    assert result.plan is not None
    assert (result.plan.global_.node, result.plan.global_.description) == ("n", "d")


def test_userlists_and_error_sets_become_objects(tmp_path: Path) -> None:
    page = tmp_path / "400.http"
    page.write_bytes(b"HTTP/1.0 400 Bad\r\n\r\n")
    text = (
        "userlist u\n group g users bob\n user bob insecure-password secret\n user eve insecure-password x groups h\n group h\n"
        f"http-errors e\n errorfile 400 {page}\n" + GOOD
    )
    result = run(tmp_path, text)
    assert result.diagnostics.messages == [] and result.plan is not None
    users = result.plan.objects["userlist/u"]
    assert users.check(b"bob", b"secret") and not users.check(b"bob", b"wrong")
    assert users.groups(b"bob") == [b"g"] and users.groups(b"eve") == [b"h"]
    assert result.plan.objects["http-errors/e"][400].raw == page.read_bytes()


def test_an_error_message_must_fit_a_buffer(tmp_path: Path) -> None:
    page = tmp_path / "big"
    page.write_bytes(b"x" * 5000)
    result = run(tmp_path, f"http-errors e\n errorfile 400 {page}\nglobal\n tune.bufsize 4k\n" + GOOD)
    assert alerts(result)[0] == "2: errorfile : the message is larger than a buffer (5000 bytes, 4096 fit)."


def test_relative_paths_follow_default_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page").write_bytes(b"HTTP/1.0 400 x\r\n\r\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    text = "http-errors e\n errorfile 400 page\n" + GOOD
    assert run(tmp_path, text).plan is None
    assert run(tmp_path, "global\n default-path config\n" + text).plan is not None
    assert run(tmp_path, f"global\n default-path origin {tmp_path}\n" + text).plan is not None
    assert os.getcwd() == str(elsewhere)
    assert alerts(run(tmp_path, "global\n default-path origin /nonexistent\n" + GOOD))[0] == (
        "2: 'default-path' : cannot change to '/nonexistent' : No such file or directory"
    )


def test_default_path_goes_with_each_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "page").write_bytes(name.encode())
    (tmp_path / "a" / "1.cfg").write_text("global\n default-path config\n" + GOOD + "http-errors a\n errorfile 400 page\n")
    (tmp_path / "b" / "2.cfg").write_text("http-errors b\n errorfile 400 page\n")
    plan = load([str(tmp_path / "a" / "1.cfg"), str(tmp_path / "b" / "2.cfg")], Options()).plan
    assert plan is not None
    assert [plan.objects[f"http-errors/{n}"][400].raw for n in ("a", "b")] == [b"a", b"b"]


def test_the_dump_holds_words(tmp_path: Path) -> None:
    result = run(tmp_path, 'global # c\n log-tag "a b"\n' + GOOD, dump_config="")
    assert result.dump[:2] == (("", ("global",)), ("global", ("log-tag", "a b")))


def test_unknown_names_of_servers_may_be_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_args: object, **_kw: object) -> list[object]:
        raise OSError("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    text = GOOD.replace("127.0.0.1:19001", "nobody.example:80")
    assert alerts(run(tmp_path, text))[0] == "10: 'server app/a' : could not resolve address 'nobody.example'."
    plan = run(tmp_path, text, ignore_resolution=True).plan
    assert plan is not None and plan.backends["app"].servers[0].disabled
    plan = run(tmp_path, "backend alone\n server s nobody.example:80\n", ignore_resolution=True).plan
    assert plan is not None and plan.backends["alone"].servers[0].disabled


def test_who_wants_to_hear_nothing_and_who_insists(tmp_path: Path) -> None:
    silent = "global\n quiet\n" + GOOD
    assert not run(tmp_path, GOOD).quiet and run(tmp_path, GOOD, quiet=True).quiet
    assert run(tmp_path, silent).quiet and not run(tmp_path, silent, verbose=True).quiet


def test_every_section_of_haproxy_is_known() -> None:
    assert known.names("section") == SECTIONS.keys() | REFUSED_SECTIONS
    assert not SECTIONS.keys() & REFUSED_SECTIONS


def test_loading_twice_gives_the_same(tmp_path: Path) -> None:
    """A reload reads again in the same process: nothing of the first time may be left."""
    text = "defaults d\n mode http\n timeout client 1s\n timeout server 1s\n timeout connect 1s\nuserlist u\n" + GOOD
    first, second = run(tmp_path, text), run(tmp_path, text)
    assert first.diagnostics.messages == second.diagnostics.messages == []
    assert first.plan is not None and second.plan is not None
    assert first.plan.global_ == second.plan.global_
    bad = run(tmp_path, "global\n foo\n")
    assert bad.plan is None and run(tmp_path, text).plan is not None
