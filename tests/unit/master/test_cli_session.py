"""The text of the runtime CLI: lines, commands, contexts, prompts."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import Any

import pytest

from forkproxy.master.cli_session import Deferred, Session
from forkproxy.master.cli_text import split, words_of
from forkproxy.plan import Address, Bind, Global, Plan
from forkproxy.registry import COMMANDS, Command, Level, gather

gather("forkproxy.master.commands")


def session(*, mastercli: bool = False, level: str = "admin") -> Session:
    workers = {n: SimpleNamespace(pid=100 + n, number=n) for n in (1, 2)}
    master: Any = SimpleNamespace(
        pid=100,
        started=time.monotonic() - 90061.5,
        plan=Plan(global_=Global()),
        reloader=SimpleNamespace(last_failed=False),
        supervisor=SimpleNamespace(current=SimpleNamespace(workers=workers), workers=lambda: list(workers.values())),
    )
    return Session(master, Bind(address=Address("unix", "/s"), level=level), mastercli=mastercli)


def said(one: Session) -> str:
    text = ""
    while (piece := one.next_slice()) is not None:
        text += piece
    return text


def test_a_stats_socket_answers_what_came_together_and_closes() -> None:
    one = session()
    one.feed(b"show ver")
    assert said(one) == "" and not one.closing
    one.feed(b"sion; show version\r\nshow version\n")
    assert said(one) == "3.4.0\n\n" * 3
    assert one.closing
    one.feed(b"show version\n")
    assert said(one) == ""


def test_an_empty_line_alone_gets_the_list() -> None:
    one = session()
    one.feed(b"\nshow version\n")
    assert said(one) == "3.4.0\n\n"
    one = session()
    one.feed(b"\n")
    assert said(one).startswith("Unknown command. Please enter") and one.closing


def test_payloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the last command of a line; up to an empty line, or one that the operator chose."""
    heard: list[tuple[str, str | None]] = []

    def take(one: Session, words: list[str]) -> str:
        heard.append((words[1], one.payload))
        return ""

    monkeypatch.setitem(COMMANDS, "take", Command("take", take, Level.USER))
    one = session()
    one.feed(b"prompt\ntake a; take b <<\nx y\n;z\n\ntake c <<END\n\n<<\nEND\ntake d<<\n")
    assert heard == [] and said(one) == "\n> + + + \n> \n> + + + \n> \n> "
    assert heard == [("a", None), ("b", "x y\n;z\n"), ("c", "\n<<\n"), ("d<<", None)]
    one.feed(b"take e <<\n" + b"x" * 1000 + b"\n")
    said(one)
    for _ in range(200):
        one.feed(b"x" * 1000 + b"\n")
        said(one)
    assert one.closing and len(heard) == 4


def test_modes_of_the_prompt() -> None:
    one = session()
    one.feed(b"prompt i\n")
    assert said(one) == "\n" and not one.closing
    one.feed(b"show version\nprompt\n")
    assert said(one) == "3.4.0\n\n\n> "
    one.feed(b"prompt timed\n")
    assert said(one) == "\n[1:01:01:01]> "
    one.feed(b"prompt foo\n")
    assert "unknown option 'foo'" in said(one)
    one.feed(b"prompt n\n")
    assert said(one) == "\n" and one.closing
    master = session(mastercli=True)
    master.feed(b"expert-mode on\nprompt\nprompt\n")
    assert said(master) == "master(e)> " and not master.closing


def test_severities() -> None:
    one = session()
    one.feed(b"set severity-output number; set timeout cli x; set severity-output string; set timeout foo; set severity-output x\n")
    assert said(one) == (
        "\n[3]: Invalid timeout value.\n\n\n[err]: 'set timeout' only supports 'cli'.\n\n"
        "[err]: one of 'none', 'number', 'string' is a required argument\n\n"
    )


def test_prompt_keeps_it_open() -> None:
    one = session()
    one.feed(b"prompt\nshow version\n")
    assert said(one) == "\n> 3.4.0\n\n> "
    assert not one.closing
    one.feed(b"quit\n")
    assert said(one) == ""
    assert one.closing


def test_the_last_line_needs_no_line_feed_when_the_client_has_finished() -> None:
    one = session()
    one.feed(b"show version")
    one.end()
    assert said(one) == "3.4.0\n\n"
    assert one.closing


def test_contexts_of_the_master_cli() -> None:
    one = session(mastercli=True)
    one.feed(b"prompt\n@2\nshow version\n@!101\n@\n@7 show version\n")
    assert said(one) == "master> 102> 3.4.0\n\n102> 101> master> Can't find the target PID matching the prefix '@7'\nmaster> "


def test_whom_a_command_is_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """All workers, unless the prefix names one by its pid."""
    asked: list[list[int]] = []

    def count(one: Session, _words: list[str]) -> str:
        asked.append([worker.pid for worker in one.targets()])
        return ""

    monkeypatch.setitem(COMMANDS, "count", Command("count", count, Level.USER))
    one = session(mastercli=True)
    one.feed(b"@1 count\n@!102 count\n@2 count\n@!101\ncount\n")
    said(one)
    assert asked == [[101, 102], [102], [101, 102], [101]]


def test_a_failed_reload_shows_in_the_prompt() -> None:
    one = session(mastercli=True)
    one.master.reloader.last_failed = True
    one.feed(b"prompt\n")
    assert said(one) == "master[ReloadFailed]> "


def test_a_whole_line_or_session_inside_a_worker() -> None:
    """``@@`` holds for all commands of a line; alone it enters the worker, until ``quit``."""
    one = session(mastercli=True)
    one.feed(b"@@1 set severity-output none; set severity-output none; show version\n")
    assert said(one) == "\n\n3.4.0\n\n" and one.context == "master"
    one.feed(b"@1 set severity-output none; set severity-output none\n")
    assert "Unknown command" in said(one), "one @ is for one command"
    one.feed(b"prompt\n@@!102\nset severity-output none\nquit\nset severity-output none\n@@\nquit\n")
    answer = said(one)
    assert answer.startswith("master> > \n> master> Unknown command") and answer.endswith("master> master> ") and one.closing


def test_levels_are_respected_and_can_only_be_lowered() -> None:
    one = session(level="operator")
    one.feed(b"user; show env; operator; show cli level\n")
    assert said(one) == "\nPermission denied\n\nPermission denied\n\nuser\n\n"


def test_unknown_commands_get_the_list() -> None:
    one = session(mastercli=True)
    one.feed(b"foo\n")
    text = said(one)
    assert text.startswith("Unknown command. Please enter one of the following commands only:\n  @!<pid>")
    assert "show stat" not in text  # of workers
    assert text.endswith("\n\n")


@pytest.mark.parametrize(
    ("said_", "found"),
    [
        ("show ssl cert", []),
        ("show servers", ["show servers conn", "show servers state"]),
        ("show servres state", ["show servers state"]),
        ("shutdown", ["shutdown frontend", "shutdown session", "shutdown sessions server"]),
        ("del srver x/y", ["del server"]),
        ("set wieght b/s 3", ["set weight"]),
        ("shwo stat", ["show stat"]),
    ],
)
def test_what_is_like_an_unknown_command_is_listed(said_: str, found: list[str]) -> None:
    """Commands that begin like it, else those that look like it; and the way out."""
    one = session()
    one.feed(f"{said_}\n".encode())
    lines = said(one).splitlines()
    assert lines[0] == "Unknown command, but maybe one of the following ones is a better match:"
    names = [line.partition(":")[0].strip() for line in lines[1:-4]]
    assert all(any(name.startswith(each) for name in names) for each in found) and len(names) < 60
    assert [line.split()[0] for line in lines[-4:-1]] == ["help", "prompt", "quit"]


def test_help_for_some_commands() -> None:
    one = session()
    one.feed(b"help show servers\n")
    lines = said(one).splitlines()
    assert lines[0] == "The following commands are valid at this level:"
    assert [" ".join(line.split()[:3]) for line in lines[1:3]] == ["show servers conn", "show servers state"] and len(lines) == 7


def test_a_deferred_answer_holds_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    later = Deferred()
    monkeypatch.setitem(COMMANDS, "later", Command("later", lambda _s, _w: later, Level.USER))
    one = session()
    woken: list[str] = []
    one.wake = lambda: woken.append(said(one))
    one.feed(b"later;show version\n")
    assert said(one) == "" and not one.idle
    later.finish("done\n")
    assert woken == ["done\n\n3.4.0\n\n"]


def test_a_fault_in_a_command_costs_one_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_session: Session, _words: list[str]) -> str:
        raise ZeroDivisionError

    monkeypatch.setitem(COMMANDS, "broken", Command("broken", broken, Level.USER))
    one = session()
    one.feed(b"broken;show version\n")
    assert said(one) == "internal error\n\n3.4.0\n\n"
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_words_and_commands() -> None:
    assert split("a b; c\\;d ;;") == ["a b", "c;d"]
    assert words_of(r"set var\ x  \;") == ["set", "var x", ";"]
    assert words_of("  ") == []


def test_workers_commands_in_the_master_for_those_who_look_for_faults() -> None:
    one = session(mastercli=True)
    one.feed(b"show env PATH\nmcli-debug-mode on\nshow env PATH\nprompt\n")
    answer = said(one)
    assert answer.startswith("Unknown command") and f"PATH={os.environ['PATH']}\n" in answer and answer.endswith("master(d)> ")


def test_the_socket_says_how_answers_begin() -> None:
    """``severity-output`` of the line (management manual 9.3)."""
    bind = Bind(address=Address("unix", "/s"), level="admin", options={"severity-output": "number"})
    one = Session(session().master, bind, mastercli=False)
    one.feed(b"set timeout cli x\n")
    assert said(one).startswith("[3]:")
