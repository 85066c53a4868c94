"""``show libs`` (management manual 9.3): what is loaded into the process that answers."""

from __future__ import annotations

from forkproxy.master.cli_session import Session
from forkproxy.registry import Level, command


@command("show libs", level=Level.OPERATOR, synopsis="show libs")
def show_libs(session: Session, words: list[str]) -> str:
    """Show loaded object files and libraries."""
    spans: dict[str, list[int]] = {}
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and fields[5].startswith("/"):
                start, _, end = fields[0].partition("-")
                path = fields[5].strip()
                low, high = spans.get(path, (int(start, 16), 0))
                spans[path] = [min(low, int(start, 16)), max(high, int(end, 16))]
    return "".join(f"{low:#018x}-{high:#018x} ({high - low:#09x}) {path}\n" for path, (low, high) in spans.items())
