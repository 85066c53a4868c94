"""Filters (manual chapter 9): bandwidth limitation, the one kind that there is; the others are refused by name."""

from __future__ import annotations

from forkproxy.config import known
from forkproxy.config.args import Rest
from forkproxy.config.diagnostics import did_you_mean
from forkproxy.config.drafts import FilterDraft, ProxyDraft
from forkproxy.config.keywords.caps import PROXIES, end_of_line, not_in_defaults
from forkproxy.config.line import Line
from forkproxy.config.units import UnitError, parse_size, parse_time
from forkproxy.registry import keyword
from forkproxy.rules.bandwidth import KINDS

_WORDS = ("default-limit", "default-period", "limit", "key", "table", "min-size")


@keyword(
    PROXIES,
    "filter",
    args=(Rest(),),
    synopsis="{bwlim-in|bwlim-out} <name> "
    "{default-limit <size> default-period <time> | limit <size> key <expr> [table <table>]} [min-size <size>]",
)
def filter_(draft: ProxyDraft, line: Line, start: int) -> None:
    """Declare a bandwidth limit that ``set-bandwidth-limit`` rules of this section apply to streams: so many bytes of payload in a
    period, from clients (bwlim-in) or to them (bwlim-out), for each stream alone or for all together, over all workers, that have the
    same key in a stick table. Without ``min-size`` as much goes at a time as 20 ms are worth."""
    not_in_defaults(draft, line)
    words = line.words
    if start >= len(words):
        line.fail("'filter' expects the name of a filter.", start)
    kind = words[start]
    if kind not in KINDS:
        if kind in known.names("filter"):
            line.fail(known.refusal(f"filter {kind}"), start)
        line.fail(f"unknown filter '{kind}'.", start, hint=did_you_mean(kind, KINDS))
    if start + 1 >= len(words):
        line.fail(f"'{kind}' expects a name.", start + 1)
    made = FilterDraft(line, kind, words[start + 1])
    held: list[FilterDraft] = draft.settings.setdefault("filters", [])
    if any(other.name == made.name for other in held):
        line.fail(f"there is a filter '{made.name}' already in {draft.label} '{draft.name}'.", start + 1)
    at = start + 2
    while at < len(words):
        word = words[at]
        if word not in _WORDS:
            line.fail(f"'{kind}' : unknown argument '{word}'.", at, hint=did_you_mean(word, _WORDS))
        if at + 1 >= len(words):
            line.fail(f"'{kind}' : '{word}' expects a value.", at)
        _set(made, line, word, at + 1)
        at += 2
    shared, own = {"limit", "key", "table"} & made.seen, {"default-limit", "default-period"} & made.seen
    if shared and own:
        line.fail(f"'{kind}' : a shared limit has '{min(shared)}', one per stream has '{min(own)}', none has both.", start)
    missing = sorted(({"limit", "key"} if shared else {"default-limit", "default-period"}) - made.seen)
    if missing:
        line.fail(f"'{kind}' : {' and '.join(missing)} must be given.", start)
    held.append(made)
    draft.options["bandwidth"] = True


def _set(made: FilterDraft, line: Line, word: str, at: int) -> None:
    text = line.words[at]
    if word in made.seen:
        line.fail(f"'{made.kind}' : '{word}' stands there twice.", at - 1)
    made.seen.add(word)
    if word == "key":
        made.key = text
        return
    if word == "table":
        made.table = text
        return
    try:
        value = round(parse_time(text) * 1000) if word == "default-period" else parse_size(text)
    except UnitError as err:
        line.fail(f"'{made.kind}' : invalid value for '{word}' : {err}.", at)
    if not value and word != "min-size":
        line.fail(f"'{made.kind}' : '{word}' must be more than zero.", at)
    if word == "default-period":
        made.period_ms = value
    elif word == "min-size":
        made.least = value
    else:
        made.limit = value


@keyword(PROXIES, "filter-sequence", args=(Rest(),), synopsis="{request|response} <filter>[,<filter>]*")
def filter_sequence(draft: ProxyDraft, line: Line, start: int) -> None:
    """Which kinds of filters work on requests, or on responses; declared ones that are not listed do nothing there. Their order changes
    nothing for bandwidth limits: the narrowest one decides."""
    not_in_defaults(draft, line)
    words = line.words
    if start >= len(words) or words[start] not in ("request", "response"):
        line.fail("'filter-sequence' expects 'request' or 'response'.", start)
    if start + 1 >= len(words):
        line.fail("'filter-sequence' expects a list of filters.", start + 1)
    end_of_line(line, start + 2)
    draft.settings.setdefault("filter-sequence", {})[words[start]] = (line, start + 1, words[start + 1].split(","))
