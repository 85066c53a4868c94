"""The configurations of Debian's haproxy package: read to the end, with the list of what forkproxy refuses by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from forkproxy.config.diagnostics import Severity
from forkproxy.config.load import load
from forkproxy.config.options import Options

EXAMPLES = Path("/usr/share/doc/haproxy/examples")
_REFUSED = re.compile(r"'([^']+)' is known to HAProxy, not supported by forkproxy yet")

#: file → what it has that forkproxy has not. Shorter with every issue; a name here that is no longer refused fails the test.
REFUSED = {
    "basic-config-edge.cfg": {"stats", "stats uri", "ssl", "compression", "cache", "cookie"},
    "content-sw-sample.cfg": {"stats uri", "cookie"},
    "quick-test.cfg": set(),
    "socks4.cfg": {"socks4", "ssl", "stats enable", "stats uri", "stats realm", "stats admin", "stats show-node"},
    "transparent_proxy.cfg": {"usesrc"},
    "wurfl-example.cfg": {"wurfl-data-file", "wurfl-information-list-separator", "wurfl-information-list"},
}


@pytest.mark.parametrize("name", REFUSED)
def test_examples(name: str) -> None:
    path = EXAMPLES / name
    if not path.exists():
        pytest.skip("haproxy's examples are not installed")
    messages = load([str(path)], Options()).diagnostics.messages
    assert not [m.text for m in messages if m.severity is Severity.ALERT and m.text.startswith("unknown")]
    refused = {m[1] for message in messages if message.line and (m := _REFUSED.search(message.text))}
    assert REFUSED[name] <= refused
    assert bool(refused) == bool(REFUSED[name])


def test_the_file_that_debian_installs() -> None:
    path = Path("/etc/haproxy/haproxy.cfg")
    if not path.exists():
        pytest.skip("haproxy is not installed")
    result = load([str(path)], Options())
    assert result.plan is not None
    assert result.plan.frontends == () and len(result.plan.global_.stats_sockets) == 1
    assert {m.severity for m in result.diagnostics.messages} == {Severity.NOTE}
