"""The text of the runtime CLI: lines, commands, contexts, prompts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from forkproxy.master.cli_session import Deferred, Session, split, words_of
from forkproxy.plan import Address, Bind, Global, Plan
from forkproxy.registry import COMMANDS, Command, Level, gather

gather("forkproxy.master.commands")


def session(*, mastercli: bool = False, level: str = "admin") -> Session:
    workers = {n: SimpleNamespace(pid=100 + n, number=n) for n in (1, 2)}
    master: Any = SimpleNamespace(
        pid=100,
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


def test_a_stats_socket_answers_one_line_and_closes() -> None:
    one = session()
    one.feed(b"show ver")
    assert said(one) == "" and not one.closing
    one.feed(b"sion; show version\r\nshow version\n")
    assert said(one) == "3.4.0\n\n3.4.0\n\n"
    assert one.closing


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


def test_a_failed_reload_shows_in_the_prompt() -> None:
    one = session(mastercli=True)
    one.master.reloader.last_failed = True
    one.feed(b"prompt\n")
    assert said(one) == "master[ReloadFailed]> "


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
