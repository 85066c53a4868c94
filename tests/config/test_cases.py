"""Every ``cases/*.cfg`` against its ``.expect`` file: the exact messages, or the word "good". To accept new messages after looking at
them, run this file as a program.

The first line of a case says whether HAProxy's messages are the same. Where they are, and where Debian's haproxy is installed, that is
tested too: the sentences and the lines that they speak of, without the punctuation around the place.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from forkproxy.config.diagnostics import Severity
from forkproxy.config.load import load
from forkproxy.config.options import Options
from tests.peers import needs

CASES = sorted((Path(__file__).parent / "cases").glob("*.cfg"))
#: sentences that only end the output
_CLOSING = ("rror(s) found", "Fatal errors", "Could not open configuration file")
SAME = [case for case in CASES if case.read_text().startswith("# haproxy: same")]


def messages(case: Path) -> list[str]:
    """``LEVEL line:column: text``, first lines only; "good" when nothing is wrong."""
    found = load([str(case)], Options()).diagnostics.messages
    lines = [
        f"{m.severity.name} {m.line}:{m.column}: {m.text.splitlines()[0].replace(str(case), case.name)}"
        for m in found
        if m.severity >= Severity.WARNING and not m.text.endswith("Fatal errors found in configuration.")
        and not m.text.startswith("Error(s) found")
    ]  # fmt: skip
    return lines or ["good"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.stem)
def test_messages_are_as_expected(case: Path) -> None:
    assert messages(case) == case.with_suffix(".expect").read_text().splitlines()


def bare(text: str) -> str:
    """A message without place, hint and final punctuation, since those are printed differently."""
    text = re.sub(r"; did you mean .*| \(did you mean .*", "", text)
    text = re.sub(r"(invalid port '[^']*') in '.*", r"\1", text).replace("' : ", "': ")
    return re.sub(r"[.\s]+$", "", text)


def ours(case: Path) -> set[tuple[str, str]]:
    out = set()
    for line in messages(case):
        level, _, rest = line.partition(" ")
        out.add((level, bare(rest.partition(": ")[2])))
    return out


def theirs(case: Path) -> set[tuple[str, str]]:
    """What haproxy says, as far as it is a sentence about the file."""
    done = subprocess.run(["haproxy", "-c", "-f", str(case)], capture_output=True, text=True, timeout=20, check=False)
    out = set()
    for line in (done.stdout + done.stderr).splitlines():
        match = re.match(r"\[(ALERT|WARNING)\] +\(\d+\) : config : (.*)", line)
        if match is None or any(closing in line for closing in _CLOSING):
            continue
        text = match[2].replace(str(case), case.name)
        while True:  # the place stands once or twice, in several forms
            text, n = re.subn(r"^(config: |[Pp]arsing )?(\[[^]]*\] ?:? ?)|^config: ", "", text)
            if not n:
                break
        out.add((match[1], bare(text)))
    return out


@needs("haproxy")
@pytest.mark.parametrize("case", SAME, ids=lambda c: c.stem)
def test_haproxy_says_the_same(case: Path) -> None:
    assert ours(case) == theirs(case)


if __name__ == "__main__":
    for path in CASES if len(sys.argv) == 1 else [Path(name) for name in sys.argv[1:]]:
        path.with_suffix(".expect").write_text("\n".join(messages(path)) + "\n")
