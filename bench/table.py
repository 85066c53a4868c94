"""The table that is wanted: a row is held against what its cases gave."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from bench.cases import ROWS, Row

Numbers = dict[str, Any]


def value(row: Row, numbers: Numbers, side: int) -> float | None:
    """What a side (its number in the run; 0 is what the others are compared with) has in a row; None: not measured."""
    if any(name not in numbers for name in row.cases):
        return None
    if row.figure == "flat":
        return _flat([_costs(numbers[name], side) for name in row.cases])
    if row.figure == "cost":
        return _by(_costs(numbers[row.cases[0]], side), _costs(numbers[row.cases[0]], 0))
    medians = numbers[row.cases[0]]["medians"]
    mine, theirs = medians[side], medians[0]
    if row.figure == "memory":
        return float(mine["bytes"])
    key = {"p99": "p99_us", "scaling": "gain"}[row.figure]
    return float(mine[key] / theirs[key])


def _costs(case: Numbers, side: int) -> list[float]:
    return [one["cpu_us"] for one in case["rounds"][side]]


def _by(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios within rounds: what the machine does for others lasts longer than a round, and would count as a difference
    between sides or cases."""
    return median(mine_ / theirs_ for mine_, theirs_ in zip(mine, theirs, strict=True))


def _flat(costs: Sequence[Sequence[float]]) -> float:
    """The largest of some cases by the smallest, each by the first one."""
    ratios = [_by(case, costs[0]) for case in costs]
    return max(ratios) / min(ratios)


def holds(row: Row, found: float) -> bool:
    """Whether that is what was wanted: a gain at least as large (within 5 %, what two runs differ by), anything else at most as large."""
    if row.figure == "scaling":
        return found >= row.wanted * 0.95
    return round(found, 2) <= row.wanted


def table(names: Sequence[str], numbers: Numbers) -> str:
    """All rows of which something was measured, as Markdown; empty when there is none."""
    lines = []
    for row in ROWS:
        found = [value(row, numbers, side) for side in range(len(names))]
        if found[0] is None:
            continue
        own = row.figure in ("memory", "flat")
        cells = [_show(row, found[0]) if own else _base(row, numbers[row.cases[0]]["medians"][0])]
        cells += [f"{_show(row, x)} {'' if holds(row, x) else '✗'}".strip() for x in found[1:] if x is not None]
        sign = "≥" if row.figure == "scaling" else "≤"
        lines.append(f"| {row.what} | {sign} {_show(row, row.wanted)} | {' | '.join(cells)} |")
    if not lines:
        return ""
    head = f"| | wanted | {' | '.join(names)} |\n|---|---:|" + "---:|" * len(names) + "\n"
    return head + "\n".join(lines) + "\n"


def _show(row: Row, x: float) -> str:
    return f"{x:,.0f}" if row.figure == "memory" else f"{x:.2f}"


def _base(row: Row, m: dict[str, float]) -> str:
    if row.figure == "cost":
        return f"{m['cpu_us']:,.1f} µs"
    return f"{m['p99_us'] / 1000:.2f} ms" if row.figure == "p99" else f"{m['gain']:.2f}"
