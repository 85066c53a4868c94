"""The query of a scrape: which scopes and families are wanted, in which format.

As HAProxy's exporter: ``scope=global|frontend|backend|server|listener|sticktable|*`` (may repeat; an empty value clears what was chosen),
``no-maint`` (servers in maintenance are left out), ``metrics=a,b`` (only these; with ``-name``: all but these), ``desc-labels`` (the
descriptions of proxies as labels), ``extra-counters`` (there are none). ``scope=worker`` is forkproxy's own. An unknown scope is a bad
request, an unknown parameter is not (observed): scrapers may add their own. Pure.
"""

from __future__ import annotations

from urllib.parse import unquote_plus

from forkproxy.values import frozen

SCOPES = frozenset({"global", "frontend", "backend", "server", "listener", "sticktable", "worker"})

CONTENT_TYPE_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
CONTENT_TYPE_OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"


@frozen
class Query:
    """What one scrape asks for."""

    scopes: frozenset[str] = SCOPES
    no_maint: bool = False
    descriptions: bool = False
    only: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    openmetrics: bool = False

    def wants(self, family: str) -> bool:
        """Whether the ``metrics`` filter lets this family through."""
        return family not in self.without and (not self.only or family in self.only)


def parse_query(query: str, accept: bytes | None = None) -> Query:
    """From the query string (without "?") and the Accept field. Raises ValueError for what an exporter refuses."""
    scopes: set[str] | None = None
    no_maint = descriptions = False
    only: set[str] = set()
    without: set[str] = set()
    for part in query.split("&"):
        if not part:
            continue
        name, _, raw = part.partition("=")
        value = unquote_plus(raw)
        if name == "scope":
            scopes = set() if scopes is None else scopes
            if not value:
                scopes.clear()
            elif value == "*":
                scopes |= SCOPES
            elif value in SCOPES:
                scopes.add(value)
            else:
                raise ValueError(f"unknown scope '{value}'")
        elif name == "metrics":
            for word in filter(None, (word.strip() for word in value.split(","))):
                if word.startswith("-"):
                    without.add(word[1:])
                else:
                    only.add(word.removeprefix("+"))
        elif name == "no-maint":
            no_maint = True
        elif name == "desc-labels":
            descriptions = True
    chosen = SCOPES if scopes is None else frozenset(scopes)
    return Query(chosen, no_maint, descriptions, frozenset(only - without), frozenset(without), accepts_openmetrics(accept))


def accepts_openmetrics(accept: bytes | None) -> bool:
    """Whether the Accept field prefers OpenMetrics to the plain text (RFC 9110 12.5.1: the higher quality wins, OpenMetrics on a tie
    as scrapers send it)."""
    best = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for item in (accept or b"").decode("latin-1").lower().split(","):
        media, *params = (part.strip() for part in item.split(";"))
        quality = 1.0
        for param in params:
            if param.startswith("q="):
                try:
                    quality = float(param[2:])
                except ValueError:
                    quality = 0.0
            elif media == "application/openmetrics-text" and param.startswith("version=") and param not in ("version=1.0.0",
            "version=0.0.1"):
                quality = 0.0
        if media in best:
            best[media] = max(best[media], quality)
    openmetrics = best["application/openmetrics-text"]
    return openmetrics > 0.0 and openmetrics >= best["text/plain"]
