"""``docs/internals/wire.md`` says which test shows what: the files, titles and functions that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_what_the_page_names_is_there() -> None:
    text = (ROOT / "docs/internals/wire.md").read_text()
    missing = []
    named = 0
    for row in re.findall(r"(?m)^\|.*\| (.*) \|$", text):
        source = ROOT / "tests/system/test_states_duet.py"
        for path, function, title in re.findall(r"`(tests/[^`]+)`|`(test_\w+)`|\"([^\"]+)\"", row):
            if path:
                source = ROOT / path
                assert source.is_file(), path
                continue
            named += 1
            code = source.read_text()
            found = f"def {function}(" in code if function else f'"{title}"' in code
            # titles that are made of a list stand there as bytes
            if not found and not (title and f'b"{title}"' in code):
                missing.append(f"{source.name}: {function or title}")
    assert not missing
    assert named > 100
