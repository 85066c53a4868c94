"""Whatever HAProxy registers is honoured, noted or refused by name: nothing of it is ever called unknown."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from forkproxy import listing
from forkproxy.config import known
from forkproxy.config.diagnostics import Severity
from forkproxy.config.load import load, register
from forkproxy.config.options import Options
from scripts import compare_keywords as compare
from tests.peers import needs

register()
ROOT = Path(__file__).resolve().parents[2]
HTTP = "listen l\n mode http\n"
#: kind of ``known`` → a file that uses the word
FORMS = {
    "section": "{} x\n",
    "global": "global\n {}\n",
    "proxy": HTTP + " {}\n",
    "option": HTTP + " option {}\n",
    "timeout": HTTP + " timeout {}\n",
    "bind": HTTP + " bind 127.0.0.1:18080 {}\n",
    "server": HTTP + " server s 127.0.0.1:18080 {}\n",
    "userlist": "userlist u\n {}\n",
    "fetch": HTTP + " http-request set-header x %[{}]\n",
    "acl": HTTP + " acl a {} x\n",
    "converter": HTTP + " http-request set-header x %[src,{}]\n",
    "filter": HTTP + " filter {}\n",
    "service": HTTP + " http-request use-service {}\n",
    **{f"action {rules}": HTTP + f" {rules} {{}}\n" for _, rules in listing.RULE_SETS},
}


def alerts(path: Path, text: str) -> list[str]:
    path.write_text(text)
    return [m.text for m in load([str(path)], Options()).diagnostics.messages if m.severity is Severity.ALERT]


@pytest.mark.parametrize("kind", FORMS)
def test_nothing_of_haproxys_is_unknown(kind: str, tmp_path: Path) -> None:
    names = known.names(kind)
    assert names
    unknown = {}
    for name in sorted(names):
        said = alerts(tmp_path / "f.cfg", FORMS[kind].format(name))
        if any(re.search(f"unknown [a-z ]*'{re.escape(name)}'", text) for text in said):
            unknown[name] = said
    assert unknown == {}


@pytest.mark.parametrize("kind", sorted(FORMS.keys() - {"filter"}))  # there is no filter yet
def test_what_nobody_has_is_unknown(kind: str, tmp_path: Path) -> None:
    """The counterpart: the words of the test above are looked at."""
    said = alerts(tmp_path / "f.cfg", FORMS[kind].format("xyzzy"))
    assert said and not any("known to HAProxy" in text for text in said)
    assert "xyzzy" in said[0]


THEIRS = """\
# List of registered ACL keywords:
path_x = path -m x
base_beg = base -m beg
# List of registered configuration keywords:
global
\tmaxconn
\tstats
\txyzzy
listen
\tbalance
\tbind <addr> ssl alpn +1
\tbind <addr> name +1
\tserver <name> <addr> xyzzy
\toption forwardfor [ FE BE HTTP ]
\ttcp-request content xyzzy*
\thttp-request deny
mailers
\tmailer
# List of registered CLI keywords:
show stat [WORKER]\x20
xyzzy this [MASTER]\x20
# List of registered sample converter functions:
lower: str => str
xyzzy(string[,integer]): bin => str
# List of registered filter names:
trace [TRACE]
# List of registered sample fetch functions:
#                         / _.------------------- frontend tcp-request connection rule
[ Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y . . ] src: ip
[ Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y . . ] xyzzy(string): ip
# List of registered service names:
prometheus-exporter
"""


def test_two_lists_can_be_compared_by_a_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "theirs").write_text(THEIRS)
    (tmp_path / "ours").write_text(listing.dump(("all",)))
    page = str(ROOT / "docs" / "reference" / "not-supported.md")
    assert compare.main([str(tmp_path / "theirs"), str(tmp_path / "ours"), "--allowed", page]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "missing acl (1): path_x", "missing action tcp-request content (1): xyzzy", "missing cli (1): xyzzy this",
        "missing converter (1): xyzzy", "missing fetch (1): xyzzy", "missing global (1): xyzzy", "missing server (1): xyzzy",
    ]  # fmt: skip
    assert compare.main([str(tmp_path / "theirs"), str(tmp_path / "ours")]) == 1
    assert "missing bind (1): alpn\n" in capsys.readouterr().out
    assert compare.main([str(tmp_path / "ours"), str(tmp_path / "ours"), "--details"]) == 0
    assert capsys.readouterr().out == ""


def test_the_details_of_two_lists_are_compared_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = listing.dump(("all",))
    assert "\nbase64: str => bin\n" in ours  # what comes out stands first
    (tmp_path / "theirs").write_text(ours.replace("\nbase64: str => bin\n", "\nbase64: bin => str\n"))
    (tmp_path / "ours").write_text(ours)
    assert compare.main([str(tmp_path / "theirs"), str(tmp_path / "ours"), "--details"]) == 0
    assert capsys.readouterr().out == "different converter (1):\n  base64: : bin => str | : str => bin\n"


@needs("haproxy")
def test_the_page_of_what_is_missing_is_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the installed haproxy registers, we have or the page says that we have not."""
    words = ["haproxy", "-dKall", "-q", "-c", "-f", "/dev/null"]
    theirs = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False).stdout
    assert theirs.count("\n") > 1000
    # Debian's 2.6 has OpenTracing compiled in, which is not of HAProxy's own tree
    (tmp_path / "theirs").write_text("".join(line for line in theirs.splitlines(True) if not re.search("ot-group|opentracing", line)))
    page = str(ROOT / "docs" / "reference" / "not-supported.md")
    assert compare.main([str(tmp_path / "theirs"), "--allowed", page]) == 0, capsys.readouterr().out
