"""Common mistakes side by side with HAProxy, where it is installed: the same line is refused with the same words."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from forkproxy.config.diagnostics import Severity
from forkproxy.config.load import load
from forkproxy.config.options import Options
from tests.peers import needs

pytestmark = needs("haproxy")

_ALERT = re.compile(r"\[ALERT\] +\(\d+\) : config : (?:parsing )?\[[^]]*:(\d+)\] ?: (.*)")

#: One mistake each. Left out: messages in which 2.6 differs from what we say on purpose (more detail, or a newer wording).
MISTAKES = (
    "global\n foo\n",
    "global\n maxconn\n",
    "global\n maxconn 1 2\n",
    "global\n daemon x\n",
    "global\n tune.http.maxhdr 0\n",
    "global\n spread-checks 90\n",
    "global\n setenv a\n",
    "global\n unsetenv\n",
    "global\n node a/b\n",
    "global\n stats timeout 0\n",
    "global\n stats maxconn 0\n",
    "global\n stats socket\n",
    "global\n log 127.0.0.1 foo\n",
    "global\n log 127.0.0.1 local0 bar\n",
    "global\n log 127.0.0.1 local0 info err x\n",
    "global\n log 127.0.0.1 len 10 local0\n",
    "global\n log 127.0.0.1 format x local0\n",
    "global\n log 127.0.0.1 sample 1:x local0\n",
    "global\n log 127.0.0.1 sample 2,2:3 local0\n",
    "global\n log 127.0.0.1 sample 4:3 local0\n",
    "global\n log global\n",
    "global\n unix-bind foo\n",
    "defaults\n tiemout client 3s\n",
    "defaults\n timeout client\n",
    "defaults\n timeout client 3x\n",
    "defaults\n timeout client 30d\n",
    "defaults\n timeout client 99999999999\n",
    "defaults\n option\n",
    "frontend\n",
    "listen a/b\n",
    "backend c from x\n",
    "defaults x from z\n",
    "listen l\n bind :x\n",
    "listen l\n bind 1.2.3.4\n",
    "listen l\n bind 1.2.3.4:+80\n",
    "listen l\n bind ipv4@::1:80\n",
    "listen l\n bind fd@x\n",
    "listen l\n bind foo@bar:80\n",
    "listen l\n bind udp@1.2.3.4:80\n",
    "listen l\n bind [::1]:\n",
    "listen l\n defualt_backend x\n",
    "http-errors e\n errorfile 400 /nonexistent\n",
    "http-errors e\n errorfile\n",
    "http-errors e\n errorfile 777 /x\n",
    "http-errors e\n foo\n",
    'listen l\n bind *:80 a"b\n',
    'listen l\n mode "$-"\n',
    'listen l\n mode "${FOO x}"\n',
    'listen l\n mode "${1}"\n',
    '.if 0\n "x\n.endif\n',
    '.if 0\n.elif "x\n.endif\n',
    ".if foo(\n.endif\n",
    ".else\n",
    ".endif\n",
    ".elif 1\n",
    ".if 1\n.else\n.else\n",
    ".if 1\n.else\n.elif 1\n",
    "global\n.if 1\n",
    '.alert "hi there"\n',
    ".alert a b\n",
    ".if 1\n.else x\n.endif\n",
    "global\n daemon",
)


def ours(path: Path) -> list[tuple[int, str]]:
    result = load([str(path)], Options())
    return [(m.line, m.text.rstrip(".")) for m in result.diagnostics.messages if m.severity is Severity.ALERT and m.line]


def theirs(path: Path) -> list[tuple[int, str]]:
    done = subprocess.run(["haproxy", "-c", "-f", str(path)], capture_output=True, text=True, timeout=30, check=False)
    return [(int(m[1]), m[2].rstrip(".")) for line in done.stderr.splitlines() if (m := _ALERT.fullmatch(line))]


@pytest.mark.parametrize("text", MISTAKES)
def test_the_same_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "f.cfg"
    path.write_text(text)
    assert ours(path)[:1] == theirs(path)[:1]


def test_formats_that_need_http_mode(tmp_path: Path) -> None:
    """The same aliases are refused in TCP mode, and none of ours in HTTP mode."""
    from forkproxy.registry import FORMATTERS

    path = tmp_path / "f.cfg"

    def refused(text: str) -> set[str]:
        return set(re.findall(r"'(\w+)' is reserved for HTTP mode", text))

    def told(mode: str) -> str:
        section = f"frontend {{0}}\n mode {mode}\n bind :18080\n log 127.0.0.1 local0\n log-format x%{{0}}\n"
        path.write_text("".join(section.format(name) for name in sorted(FORMATTERS)))
        return "\n".join(text for _, text in ours(path))

    assert refused(told("http")) == set()
    mine = refused(told("tcp"))
    done = subprocess.run(["haproxy", "-c", "-f", str(path)], capture_output=True, text=True, timeout=30, check=False)
    assert mine == refused(done.stderr) and len(mine) > 10


CONDITIONS = (
    "", "0", "1", "-1", "1x", "!1", "! 0", "defined()", "defined(PATH)", "defined(a", "streq(a,a)", "streq(a", "streq(a,b,c)", "streq",
    "1 && 0", "1 || foo(", "0 && foo(", "(1", "1 )", "foo(1)", "enabled(xx)", "version_atleast(2.4)", "streq(\\\"a b\\\",\\\"a b\\\")",
    'streq(a,"b)', "((1) && (0 || 1))", "&& 1", "!",
)  # fmt: skip


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions_answer_alike(condition: str) -> None:
    from forkproxy import cli

    done = subprocess.run(["haproxy", "-cc", condition], capture_output=True, timeout=30, check=False)
    assert cli.main(["-cc", condition]) == done.returncode
