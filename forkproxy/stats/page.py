"""The statistics page of a proxy ("stats enable"): which requests it answers, in which format, and what becomes of its forms.

Everything after the configured prefix of the target chooses: ``;csv`` ``;typed`` ``;json`` ``;json-schema`` the format, ``;up`` and
``;no-maint`` which servers, ``;norefresh``, ``;st=…`` what became of a form, ``scope=…`` a part of a proxy's name. Compiled in the
master into one step per proxy; what it shows is bound in the worker (``service``). Forms go to the master (``forms``), whose answer
ends the request.
Source: manual 4.2 "stats …", management manual 9; status codes, fields and flags of the log as HAProxy has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from forkproxy.plan import StatsPage, Step
from forkproxy.proxy import reply
from forkproxy.rules.verdict import ALLOW, WAIT, Service
from forkproxy.stats import csv, forms, histograms, html, schema, service
from forkproxy.stats.columns import NUMBER, Row
from forkproxy.stats.model import visible, without_legends
from forkproxy.values import frozen

#: What logs call the server of these requests.
LABEL = b"<STATS>"
#: So many lines of a long page are made in one turn of the loop.
PER_TURN = 4
#: At most so much of ``scope=`` is looked at.
SCOPE_LENGTH = 20

_NAME = NUMBER["pxname"]
_METHODS = frozenset((b"GET", b"HEAD", b"POST"))
_NO_CACHE = (b"cache-control", b"no-cache")
#: Nothing of the page comes from elsewhere, and nobody may put it into a frame.
_POLICY = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; form-action 'self'; "
    b"frame-ancestors 'none'; base-uri 'none'",
)

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


@frozen
class Query:
    """What a target asks for behind the prefix."""

    form: str = "html"  # html csv typed json json-schema
    up: bool = False
    no_maint: bool = False
    refresh: bool = True
    status: str = ""
    scope: str = ""

    def suffix(self) -> str:
        """The choices again, for links and redirects."""
        text = ";up" * self.up + ";no-maint" * self.no_maint + ";norefresh" * (not self.refresh)
        return text + (f"?scope={self.scope}" if self.scope else "")


def parse(rest: bytes) -> Query:
    """Read what stands behind the prefix; what is unknown is passed over."""
    form = next((name for name in ("json-schema", "json", "typed", "csv") if b";" + name.encode() in rest), "html")
    _, found, status = rest.partition(b";st=")
    _, scoped, scope = rest.partition(b"scope=")
    scope = unquote_to_bytes(scope.partition(b"&")[0].partition(b";")[0])[:SCOPE_LENGTH] if scoped else b""
    return Query(
        form=form,
        up=b";up" in rest,
        no_maint=b";no-maint" in rest,
        refresh=b";norefresh" not in rest,
        status=status[:4].decode("latin-1") if found else "",
        scope="".join(c for c in scope.decode("latin-1") if c.isalnum() or c in ".:-_"),
    )


def path_of(target: bytes) -> bytes:
    """A target from its path on."""
    if target[:1] == b"/":
        return target
    _, scheme, rest = target.partition(b"://")
    return b"/" + rest.partition(b"/")[2] if scheme else target


def answering(page: StatsPage) -> Step:
    """The step that answers with ``page``; anything else passes."""
    uri, rules = page.uri, page.rules
    html.assets()  # read now: a worker may live where there are no files (chroot)
    serve = Service("service", handler=lambda txn: answer(txn, page))

    def step(txn: Any) -> Any:
        head = txn.req
        if head.method not in _METHODS or not path_of(head.target).startswith(uri):
            return None
        for rule in rules:
            verdict = rule(txn)
            if verdict is ALLOW:
                break
            if verdict is WAIT and txn.body_done:
                continue
            if verdict is not None:
                _label(txn)
                return verdict
        if head.method == b"POST" and not txn.body_done:
            return WAIT
        _label(txn)
        return serve

    return step


def _label(txn: Any) -> None:
    """As logs show requests that the page answers."""
    txn.server_id = LABEL
    txn.t_queue = txn.t_connect = txn.clock.now


def answer(txn: Any, page: StatsPage) -> Answer | None:
    """What the request asks for; None when that comes later."""
    head = txn.req
    txn.t_response = txn.clock.now
    query = parse(path_of(head.target)[len(page.uri) :])
    allowed = any(condition(txn) for condition in page.admin)
    if head.method == b"POST":
        return _form(txn, page, query, allowed)
    context = service.context()
    if context is None:
        return 503, [_NO_CACHE, (b"content-type", b"text/plain")], b"statistics are not available yet\n"
    rows = chosen(context.model.all(), page, query)
    more: tuple[str, ...] = ()
    if page.show_modules:
        rows, more = context.timed(rows), tuple(name for _, name in histograms.SHARES)
    fields = [_NO_CACHE]
    slices: Iterator[str]
    if query.form == "html":
        fields += [(b"content-type", b"text/html; charset=utf-8"), _POLICY]
        slices = html.render(rows, page, query, page.uri.decode("latin-1"), context, service.history(), admin=allowed)
    else:
        if query.form == "json":
            kind, slices = b"application/json", csv.to_json(rows)
        elif query.form == "json-schema":
            kind, slices = b"application/json", iter((schema.text(),))
        else:
            kind, slices = b"text/plain", csv.to_csv(rows, more) if query.form == "csv" else csv.to_typed(rows)
        fields.append((b"content-type", kind))
        if page.refresh_s and query.refresh:
            fields.append((b"refresh", b"%d" % page.refresh_s))
    return service.made_of(txn, fields, slices, context, PER_TURN)


def chosen(rows: Iterable[Row], page: StatsPage, query: Query) -> Iterator[Row]:
    """The rows of the proxies in scope, without servers that nobody wants to see."""
    scope, part = frozenset(page.scope), query.scope.lower()
    rows = rows if page.show_legends else without_legends(rows)
    for row in visible(rows, up=query.up, no_maint=query.no_maint):
        name = str(row[_NAME])
        if (not scope or name in scope) and part in name.lower():
            yield row


def _form(txn: Any, page: StatsPage, query: Query, allowed: bool) -> Answer | None:
    """Carry out a form; the answer sends the browser back to the page, which says what became of it."""

    def back(status: str) -> Answer:
        location = f"{page.uri.decode('latin-1')};st={status}{query.suffix()}".encode("latin-1")
        return 303, [_NO_CACHE, (b"content-type", b"text/plain"), (b"content-length", b"0"), (b"location", location)], b""

    if not allowed or txn.req.get(b"sec-fetch-site") in (b"cross-site", b"same-site"):  # a page of somebody else sent the browser
        return back("DENY")
    if not txn.req_done:
        return back("EXCD")
    try:
        form = forms.parse(txn.body)
    except ValueError:
        return back("ERRP")
    if not form.action or not form.servers:
        return back("NONE")

    def done(status: str) -> None:
        if not txn.logged:  # else the client is gone
            reply.local(txn, *back(status))

    service.manage(form, done)
    return None
