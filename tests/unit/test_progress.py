"""Progress: one line on a terminal, after a second, erased at the end; nothing anywhere else."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from forkproxy import progress
from forkproxy.clock import ManualClock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def screen(self) -> str:
        """What stands on its one line, with what was written over gone."""
        line: list[str] = []
        at = 0
        for char in self.getvalue():
            if char == "\r":
                at = 0
            else:
                line[at : at + 1] = [char]
                at += 1
        return "".join(line).rstrip()


def test_without_a_terminal_items_are_given_as_they_are() -> None:
    items = [1, 2, 3]
    assert progress.each(items, "reading", "lines") is items
    out = io.StringIO()
    with progress.on(out):
        assert progress.each(items, "reading", "lines") is items
    assert out.getvalue() == ""


def test_short_work_shows_nothing() -> None:
    out, clock = Terminal(), ManualClock()
    with progress.on(out, clock):
        for _ in progress.each(range(10), "reading x", "lines"):
            clock.advance(0.09)
    assert out.getvalue() == ""


def test_long_work_shows_itself_and_goes() -> None:
    out, clock = Terminal(), ManualClock()
    seen, items = [], []
    with progress.on(out, clock):
        for item in progress.each(range(2000), "reading x", "lines"):
            items.append(item)
            if out.screen() not in seen:
                seen.append(out.screen())
            clock.advance(0.001)
        for word in progress.each(["a", "b"], "y", "things"):  # a shorter text leaves nothing of the longer one
            clock.advance(1)
            if word == "b":
                assert out.screen() == "forkproxy: y: 50% of 2 things"
    assert items == list(range(2000))
    assert seen == ["", *(f"forkproxy: reading x: {percent}% of 2,000 lines" for percent in (50, 60, 70, 80, 90))]
    assert out.screen() == "" and "\n" not in out.getvalue()
    assert progress.each(items, "later", "lines") is items


def test_what_fails_leaves_no_line_behind() -> None:
    out, clock = Terminal(), ManualClock()
    with pytest.raises(ValueError), progress.on(out, clock):
        clock.advance(2)
        for item in progress.each([1, 2], "x", "y"):
            assert out.screen() != ""
            raise ValueError(item)
    assert out.screen() == ""


START = "import sys; from forkproxy import cli, progress; progress.PATIENCE_S = progress.EVERY_S = 0.0; sys.exit(cli.main(sys.argv[1:]))"


def on_a_terminal(*words: str) -> str:
    """What the start with ``words`` writes to the terminal that is its standard error."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", START, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:
        pass  # the other end is closed
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode()


@pytest.mark.parametrize("quiet", [False, True])
def test_a_large_map_on_a_terminal(tmp_path: Path, quiet: bool) -> None:
    (tmp_path / "ip.map").write_text("".join(f"10.0.{i >> 8}.{i & 255} v\n" for i in range(5000)))
    (tmp_path / "f.cfg").write_text(
        "defaults\n mode http\n timeout client 1s\n timeout server 1s\n timeout connect 1s\nfrontend f\n bind 127.0.0.1:1\n"
        f" http-request deny if {{ src,map_ip({tmp_path}/ip.map) -m found }}\n"
    )
    shown = on_a_terminal("-c", "-f", str(tmp_path / "f.cfg"), *(["-q"] if quiet else []))
    if quiet:
        assert shown == ""
        return
    terminal = Terminal()
    terminal.write(shown)
    assert terminal.screen() == ""
    reading = [f"reading {tmp_path}/{name}" for name in ("f.cfg: 0% of 9 lines", "ip.map: 5")]
    for text in (*reading, "indexing networks: 9", "building: 0% of 1 proxies"):
        assert f"forkproxy: {text}"[:75] in shown


def test_without_a_standard_error_nothing_is_shown() -> None:
    with progress.on(None):
        assert list(progress.each([1, 2], "reading", "lines")) == [1, 2]
