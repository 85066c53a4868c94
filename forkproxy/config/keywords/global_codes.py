"""Which status codes of servers count as errors of clients and as failures (manual 3.1 "http-err-codes", "http-fail-codes")."""

from __future__ import annotations

from forkproxy.config.args import Rest
from forkproxy.config.drafts import GlobalDraft
from forkproxy.config.line import Line
from forkproxy.registry import keyword
from forkproxy.rules.tables import CLIENT_ERRORS, FAILURES, verdicts


def _codes(line: Line, index: int, text: str) -> frozenset[int]:
    """``400,402-444``: the codes themselves."""
    found: set[int] = set()
    for part in text.split(","):
        low, dash, high = part.partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            line.fail(f"'{line.keyword}' expects codes from 100 to 599 or ranges of them, and not '{part}'.", index)
        first, last = int(low), int(high) if dash else int(low)
        if not 100 <= first <= last <= 599:
            line.fail(f"'{line.keyword}' expects codes from 100 to 599 or ranges of them, and not '{part}'.", index)
        found.update(range(first, last + 1))
    return frozenset(found)


def _change(line: Line, start: int, codes: frozenset[int]) -> frozenset[int]:
    if start >= len(line.words):
        line.fail(f"'{line.keyword}' expects codes, '+' and codes to add, or '-' and codes to remove.", start)
    for index, word in enumerate(line.words[start:], start):
        if word[:1] == "+":
            codes |= _codes(line, index, word[1:])
        elif word[:1] == "-":
            codes -= _codes(line, index, word[1:])
        else:
            codes = _codes(line, index, word)
    return codes


def _keep(draft: GlobalDraft, errors: frozenset[int], failures: frozenset[int]) -> None:
    draft.options["codes"] = (errors, failures)
    draft.options["verdicts"] = verdicts(errors, failures)


@keyword("global", "http-err-codes", args=(Rest(),), default="400-499", synopsis="[+-]<range>[,<range>]* …")
def http_err_codes(draft: GlobalDraft, line: Line, start: int) -> None:
    """The codes that count as the client's errors in stick tables (http_err_cnt): all of them, or with "+" and "-" what to add and to
    remove."""
    errors, failures = draft.options.get("codes", (CLIENT_ERRORS, FAILURES))
    _keep(draft, _change(line, start, errors), failures)


@keyword("global", "http-fail-codes", args=(Rest(),), default="500-599 -501,505", synopsis="[+-]<range>[,<range>]* …")
def http_fail_codes(draft: GlobalDraft, line: Line, start: int) -> None:
    """The codes that count as failures of servers in stick tables (http_fail_cnt), in the same way."""
    errors, failures = draft.options.get("codes", (CLIENT_ERRORS, FAILURES))
    _keep(draft, errors, _change(line, start, failures))
