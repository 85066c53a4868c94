"""Man pages are clean for the programs that set them and hold every option; completions offer what the shell should."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forkproxy import manual, registry
from forkproxy.arguments import OPTIONS, Option, Takes, UsageError, parse, usage, without_effect
from tests.peers import needs, rest_needs


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("manual")
    assert manual.main([str(directory)]) == 0
    assert {path.name for path in directory.iterdir()} == set(manual.PARTS)
    return directory


PAGES = [name for name in manual.PARTS if name[-2] == "."]


def plain(path: Path) -> str:
    """A page as text: no fonts, no hyphens, words separated by one blank."""
    words = ["groff", "-k", "-man", "-Tutf8", "-P-cbou", "-rHY=0", "-rLL=200n", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    return " ".join(done.stdout.replace("‐", "-").replace("−", "-").split())


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_clean(written: Path, name: str) -> None:
    rest_needs("groff")
    words = ["groff", "-k", "-man", "-ww", "-Tutf8", "-rLL=200n", "-z", str(written / name)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    rest_needs("mandoc")
    words = ["mandoc", "-Tlint", "-Wwarning", str(written / name)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@needs("groff")
def test_pages_hold_what_the_program_has(written: Path) -> None:
    command = plain(written / "forkproxy.1")
    missing = [option.flag for option in OPTIONS if f" -{option.flag} " not in command.replace("<", " <").replace("[", " [")]
    assert not missing
    assert "kill -USR2 $(cat /run/forkproxy.pid)" in command  # dashes and dollars as they are typed
    configuration = plain(written / "forkproxy.cfg.5")
    actions, options = {name for _, name in registry.ACTIONS}, {name for section, name in registry.KEYWORDS if section == "server"}
    for names in (registry.FETCHES, registry.CONVERTERS, actions, options):
        shown = {name for name in names if f" {name}" in configuration}
        assert len(names) - len(shown) < 0.02 * len(names), set(names) - shown  # a few inner entries are not documented
    assert "reverse_dom str → str" in configuration
    assert "show servers state [<backend>]" in plain(written / "forkproxy-cli.7")


@pytest.mark.parametrize(
    ("markdown", "roff"),
    [
        ("# A title", ['.SH "A TITLE"']),
        ("# T\n\ntext with `code -x` and [a link](b.md)", ['.SH "T"', r"text with \fBcode \-x\fP and a link"]),
        ("### `mode { tcp }`\n\nWhat.\n\nDefault: `tcp`.", [".TP", r"\fBmode { tcp }\fP", "What.", ".IP", r"Default: \fBtcp\fP."]),
        ("# T\n\n.if is a word", ['.SH "T"', r"\&.if is a word"]),
        ("| name | what |\n|---|---|\n| `a(b\\|c)` | text |", [".TP", r"\fBa(b|c)\fP", "text"]),
        ("# T\n\na\n\n    code \\n", ['.SH "T"', "a", ".P", ".nf", r"\fBcode \en\fP", ".fi"]),
    ],
)
def test_markdown_of_the_reference_becomes_roff(markdown: str, roff: list[str]) -> None:
    assert manual.from_markdown(markdown) == roff


def test_usage_and_table() -> None:
    text = usage()
    for option in OPTIONS:
        assert f"-{option.flag}" in text
    assert len({option.flag for option in OPTIONS}) == len(OPTIONS)
    assert manual.main([]) == 1


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_the_parser_takes_every_option_of_the_table(option: Option) -> None:
    after = {Takes.VALUE: ["1"], Takes.WORD: ["1"], Takes.PIDS: ["1", "2"]}.get(option.takes, [])
    options, _version = parse([f"-{option.flag}", *after, "-c"])
    assert options.check
    if option.field:
        assert getattr(options, option.field) != getattr(parse(["-c"])[0], option.field) or option.flag == "c"
    if option.takes in (Takes.VALUE, Takes.WORD):
        with pytest.raises(UsageError):
            parse([f"-{option.flag}"])


# -- shells ----------------------------------------------------------------------------------------------------------------


def bash(written: Path, directory: Path, *words: str) -> set[str]:
    """What bash would offer for the last of the words."""
    script = """
source "$1"; shift
COMP_WORDS=(forkproxy "$@"); COMP_CWORD=$#
_forkproxy
printf '%s\\n' "${COMPREPLY[@]}"
complete -p forkproxy >&2
"""
    arguments = ["bash", "--norc", "-uc", script, "bash", str(written / "forkproxy.bash"), *words]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=directory, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "complete -F _forkproxy forkproxy\n")
    return set(done.stdout.split("\n")) - {""}


@contextlib.contextmanager
def a_master() -> Iterator[int]:
    """A process that looks like a master; gives its pid."""
    me = subprocess.Popen(["bash", "-c", "exec -a 'forkproxy: master x.cfg' sleep 100"])
    try:
        end = time.monotonic() + 15
        while not Path(f"/proc/{me.pid}/cmdline").read_bytes().startswith(b"forkproxy: master"):
            assert time.monotonic() < end
        yield me.pid
    finally:
        me.kill()
        me.wait()


def test_bash(written: Path, tmp_path: Path) -> None:
    (tmp_path / "with space.cfg").touch()
    (tmp_path / "w").mkdir()
    known = {f"-{option.flag}" for option in OPTIONS if option not in without_effect()}
    for words, offered in (
        ((""), known | {"--"}),
        (("-W",), {"-W", "-Ws"}),
        (("-f", "w"), {"with space.cfg", "w"}),
        (("-C", "w"), {"w"}),
        (("-dKc",), {"-dKcfg", "-dKcli", "-dKcnv"}),
        (("-n", ""), set()),
        (("-f", "a.cfg", "-c", "--", "with"), {"with space.cfg"}),
        (("-sf", "1", "2", "-V"), {"-V"}),
    ):
        assert bash(written, tmp_path, *(words or [""])) == offered, words
    with a_master() as pid:
        for words in (("-sf", ""), ("-W", "-st", "1", "")):
            assert str(pid) in bash(written, tmp_path, *words), "the master that runs is not offered"


@pytest.fixture
def zsh(written: Path, tmp_path: Path) -> Iterator[int]:
    """A zsh on a terminal that has our completion; gives the terminal."""
    rest_needs("zsh")
    environment = {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(tmp_path), "LC_ALL": "C", "COLUMNS": "200", "LINES": "100"}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execvpe("zsh", ["zsh", "-f", "-i"], environment)
    commands = f"PS1=''; LISTMAX=1000; fpath=({written} $fpath); autoload -U compinit; compinit -D -u; echo rea''dy\n"
    os.write(terminal, commands.encode())
    until(terminal, r"(?<!'')ready")
    yield terminal
    os.close(terminal)
    os.kill(child, 9)
    os.waitpid(child, 0)


def until(terminal: int, pattern: str) -> str:
    """What the terminal shows, as soon as it holds ``pattern``."""
    shown = ""
    end = time.monotonic() + 20
    ready = select.poll()  # select() knows no descriptor above 1023, and other tests of this process have many
    ready.register(terminal, select.POLLIN)
    while not re.search(pattern, shown):
        assert time.monotonic() < end, shown
        if ready.poll(100):
            shown += os.read(terminal, 65536).decode(errors="replace")
    return shown


def test_zsh(zsh: int, tmp_path: Path) -> None:
    (tmp_path / "only.cfg").touch()
    os.write(zsh, b"forkproxy -W\t")
    assert re.search(r"-Ws +-- as -W, for systemd", until(zsh, r"-Ws .*"))
    os.write(zsh, b"\x15forkproxy -c -f on\t")
    until(zsh, r"only\.cfg")
    os.write(zsh, b"\x15forkproxy -dKsm\t")
    until(zsh, r"-dKsmp")
    with a_master() as pid:
        os.write(zsh, f"\x15forkproxy -sf {str(pid)[:-1]}\t".encode())
        until(zsh, rf"(?s)-sf.*{pid}")
