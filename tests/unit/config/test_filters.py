"""Filters: what rules find of them, and which of them ``filter-sequence`` leaves out. Complaints: ``tests/config/cases/bandwidth.cfg``."""

from __future__ import annotations

from pathlib import Path

import pytest

from forkproxy.config.load import load
from forkproxy.config.options import Options
from tests.unit.rules.support import make_txn

TEXT = """
backend rates
 stick-table type string size 10 store bytes_out_rate(3s),bytes_in_rate(2s)
frontend f
 mode http
 timeout client 1s
 bind 127.0.0.1:1
 http-request set-bandwidth-limit shared
 http-request set-bandwidth-limit own limit 7 if {{ path /other }}
 http-request set-bandwidth-limit own period 4s
 filter bwlim-in own default-limit 5k default-period 3s min-size 99
 filter bwlim-out shared limit 1m key path table rates
 {sequence}
"""


@pytest.mark.parametrize(("sequence", "names"), [
    ("", ["own", "shared"]), ("filter-sequence request bwlim-in", ["own", "shared"]), ("filter-sequence request bwlim-out", ["shared"]),
    ("filter-sequence response bwlim-in", ["own"]), ("filter-sequence response bwlim-in,bwlim-out", ["own", "shared"]),
])  # fmt: skip
def test_what_rules_leave(sequence: str, names: list[str], tmp_path: Path) -> None:
    (tmp_path / "f.cfg").write_text(TEXT.format(sequence=sequence))
    result = load([str(tmp_path / "f.cfg")], Options())
    assert result.plan is not None, result.diagnostics.lines()
    txn = make_txn(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    for step in result.plan.frontends[0].http_request or ():
        assert step(txn) is None
    wanted = txn.marks["bandwidth"] if txn.marks is not None else {}
    assert sorted(wanted) == names
    if "own" in wanted:
        own = wanted["own"]
        assert (own.limit, own.period_ms, own.key, own.filter.least, own.filter.inward) == (5120, 4000, b"", 99, True)
    if "shared" in wanted:
        shared = wanted["shared"]
        assert (shared.limit, shared.period_ms, shared.key[:3], shared.filter.inward) == (1 << 20, 3000, b"/a\0", False)
        assert shared.filter.table is result.plan.tables["rates"]
