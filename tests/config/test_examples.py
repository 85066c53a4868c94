"""Debian's own configurations: its default file must load, and of every example it is written down what is refused and why.

``examples/debian.expect`` has one line per refusal: ``file:line: reason``, and ``file: loads`` where nothing is. When a keyword comes
to forkproxy, its lines here must go: run this file as a program to write the list anew, and read the difference.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from forkproxy.config.diagnostics import Severity
from forkproxy.config.load import load
from forkproxy.config.options import Options

EXAMPLES = Path("/usr/share/doc/haproxy/examples")
DEFAULT = Path("/etc/haproxy/haproxy.cfg")
EXPECTED = Path(__file__).parent / "examples" / "debian.expect"


def refusals(path: Path) -> list[str]:
    """What the file is refused for, line by line."""
    found = load([str(path)], Options()).diagnostics.messages
    lines = [f"{path.name}:{m.line}: {m.text}" for m in found if m.severity is Severity.ALERT and m.line]
    return lines or [f"{path.name}: loads"]


def everything() -> list[str]:
    return [line for path in sorted(EXAMPLES.glob("*.cfg")) for line in refusals(path)]


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason=f"needs {EXAMPLES} of Debian's haproxy package")
def test_what_is_refused_in_debians_examples() -> None:
    assert everything() == EXPECTED.read_text().splitlines()


@pytest.mark.skipif(not DEFAULT.exists(), reason=f"needs {DEFAULT} of Debian's haproxy package")
def test_debians_default_file_loads_without_a_warning() -> None:
    result = load([str(DEFAULT)], Options())
    assert result.plan is not None
    assert not [m.text for m in result.diagnostics.messages if m.severity >= Severity.WARNING]


if __name__ == "__main__":
    EXPECTED.write_text("\n".join(everything()) + "\n")
