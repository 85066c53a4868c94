"""http-err-codes and http-fail-codes: which statuses count as what."""

from __future__ import annotations

import pytest

from forkproxy.rules.tables import VERDICTS
from tests.unit.config.reading import alerts, good

#: the manual's examples, and what they come to: the codes that are there, those that are not
CHANGES = [
    ("http-err-codes 400,402-444,446-480,490", "http_err", [400, 402, 444, 446, 480, 490], [401, 445, 481, 491, 399]),
    ("http-err-codes 400-499 -450 +500", "http_err", [400, 449, 451, 499, 500], [450, 501]),
    ("http-err-codes -450-459", "http_err", [400, 449, 460, 499], [450, 459, 500]),
    ("http-err-codes +501,505", "http_err", [400, 499, 501, 505], [500, 502]),
    ("http-fail-codes -500", "http_fail", [502, 599], [500, 501, 505]),
    ("http-fail-codes 200-299,404", "http_fail", [200, 299, 404], [500, 300]),
]


@pytest.mark.parametrize(("line", "name", "inside", "outside"), CHANGES)
def test_codes(line: str, name: str, inside: list[int], outside: list[int]) -> None:
    verdicts = good(f"global\n {line}\n").global_.options["verdicts"]
    assert all(name in verdicts[status] for status in inside)
    assert not any(name in verdicts.get(status, ()) for status in outside)


def test_both_and_neither() -> None:
    verdicts = good("global\n http-err-codes +500\n http-fail-codes +404\n").global_.options["verdicts"]
    assert verdicts[500] == verdicts[404] == ("http_err", "http_fail")
    assert "verdicts" not in good("global\n").global_.options
    assert VERDICTS[404] == ("http_err",) and VERDICTS[500] == ("http_fail",) and 501 not in VERDICTS and 200 not in VERDICTS


@pytest.mark.parametrize("words", ["", "abc", "99", "600", "400-", "499-400", "+", "400,,401", "+400-x"])
def test_mistakes(words: str) -> None:
    [found] = alerts(f"global\n http-err-codes {words}\n")
    assert "'http-err-codes' expects codes" in found
