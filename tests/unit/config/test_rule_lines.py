"""Rule lines as the whole file reads them: names that must exist, rules that nothing reaches."""

from __future__ import annotations

import pytest

from tests.unit.config.reading import alerts, warnings

FILE = "frontend f\n bind 127.0.0.1:18080\n mode http\n {}\n default_backend b\nbackend b\n mode http\n server s 127.0.0.1:1\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("http-request set-var(txn.a) nbsrv(nosuch)", "unable to find backend 'nosuch'"),
        ("http-request set-var(txn.a) nbsrv", "proxy 'f' has not backend capability"),
        ("http-request set-var(txn.a) fe_conn(b)", "unable to find frontend 'b'"),
        ("http-request set-var(txn.a) srv_conn(b/t)", "unable to find server 't' in proxy 'b'"),
        ("http-request deny if { srv_is_up(x/s) }", "unable to find proxy 'x'"),
        ("http-request set-var(txn.a) nbsrv(b)", ""),
        ("http-request set-var(txn.a) srv_conn(b/s)", ""),
        ("http-request set-var(txn.a) fe_conn", ""),
    ],
)
def test_names_must_exist(line: str, message: str) -> None:
    found = alerts(FILE.format(line))
    assert (len(found) == 1 and message in found[0]) if message else not found


def test_rules_behind_a_final_one() -> None:
    """As haproxy 2.6 warns: of HTTP rules only, and only where the rule has no condition at all."""
    lines = (
        "http-request deny if { path /a }", "http-request return if TRUE", "http-request deny", "http-request set-path /x",
        "http-response allow", "http-response set-header A b", "tcp-request content accept", "tcp-request content reject",
    )  # fmt: skip
    found = warnings(FILE.format("\n ".join(lines)).replace(" default_backend b\n", ""))
    shadowed = [text for text in found if "NOOP" in text]
    assert shadowed == [
        f"previous '{kind}' action is final and has no condition attached, further entries are NOOP."
        for kind in ("http-request", "http-response")
    ]
