"""What a scrape may ask for."""

from __future__ import annotations

import pytest

from forkproxy.stats.query import SCOPES, accepts_openmetrics, parse_query


@pytest.mark.parametrize(
    ("query", "scopes"),
    [
        ("", SCOPES),
        ("scope=*", SCOPES),
        ("scope=frontend&scope=global", {"frontend", "global"}),
        ("scope=frontend&scope=&scope=server", {"server"}),
        ("scope=%73erver", {"server"}),
        ("scope=", set()),
    ],
)
def test_scopes(query: str, scopes: set[str]) -> None:
    assert parse_query(query).scopes == scopes


def test_filters() -> None:
    query = parse_query("no-maint&extra-counters&metrics=a,b,-c&metrics=%2Bd")
    assert query.no_maint
    assert [name for name in "abcde" if query.wants(name)] == ["a", "b", "d"]
    assert [name for name in "abc" if parse_query("metrics=-c").wants(name)] == ["a", "b"]


def test_an_unknown_scope_is_refused_and_an_unknown_parameter_is_not() -> None:
    with pytest.raises(ValueError):
        parse_query("scope=nothing")
    assert parse_query("xyz=1&xyz") == parse_query("")


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (None, False),
        (b"*/*", False),
        (b"text/plain", False),
        (b"application/openmetrics-text; version=1.0.0", True),
        (
            b"application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
            b"text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            True,
        ),
        (b"application/openmetrics-text;q=0.1,text/plain;q=0.9", False),
        (b"application/openmetrics-text;q=0", False),
        (b"application/openmetrics-text;version=9.9.9", False),
        (b"application/openmetrics-text;q=nonsense", False),
    ],
)
def test_accept(accept: bytes | None, wanted: bool) -> None:
    assert accepts_openmetrics(accept) is wanted
