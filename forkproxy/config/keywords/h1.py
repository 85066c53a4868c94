"""What HTTP/1 peers need that are particular about field names: the case table of ``global``, what it lets pass, the characters that
proxies allow.

Switches that turn the case table on stand with the others in ``options``.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from forkproxy.config.args import Rest, Word
from forkproxy.config.drafts import GlobalDraft, ProxyDraft
from forkproxy.config.keywords.caps import PROXIES, end_of_line
from forkproxy.config.line import Line
from forkproxy.registry import keyword

POLICIES = ("preserve", "reject", "delete")


def _add(names: MutableMapping[bytes, bytes], old: str, new: str) -> str:
    """Put one name into the table; what is wrong with it, or ""."""
    if old.lower() != new.lower():
        return "<from> and <to> must not differ except the case"
    if old != old.lower():
        return "<from> must be in lower case"
    if os.fsencode(old) in names:
        return f"duplicate entry '{old}'"
    names[os.fsencode(old)] = os.fsencode(new)
    return ""


@keyword("global", "h1-case-adjust", args=(Rest(),), synopsis="<from> <to>")
def h1_case_adjust(draft: GlobalDraft, line: Line, start: int) -> None:
    """Write field <from> (in lower case) as <to> to peers for whom ``option h1-case-adjust-bogus-client`` or ``-server`` is set."""
    words = line.words[start:]
    if len(words) < 2:
        line.fail("'h1-case-adjust' expects <from> and <to> as argument.", start + len(words))
    end_of_line(line, start + 2)
    wrong = _add(draft.options.setdefault("h1-case-adjust", {}), *words)
    if wrong:
        line.fail(wrong, start)


@keyword("global", "h1-case-adjust-file", args=(Word("<file>"),), synopsis="<hdrs-file>")
def h1_case_adjust_file(draft: GlobalDraft, line: Line, path: str) -> None:
    """Names as for ``h1-case-adjust``, two on each line of a file; lines that are empty or begin with # are passed over. The last file
    counts."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError as exc:
        line.fail(f"h1-case-adjust-file '{path}' : failed to open file: {exc.strerror}.", line.kwlen)
    names: dict[bytes, bytes] = {}
    for number, row in enumerate(text.splitlines(), 1):
        words = row.split()
        if not words or words[0].startswith("#"):
            continue
        wrong = "expect <from> and <to>" if len(words) != 2 else _add(names, *words)
        if wrong:
            line.fail(f"h1-case-adjust-file '{path}' : {wrong} at line {number}.", line.kwlen)
    draft.options["h1-case-adjust-file"] = names


def _switch(name: str, doc: str) -> None:
    def switch(draft: GlobalDraft, line: Line) -> None:
        draft.options[name] = True

    switch.__doc__ = doc
    keyword("global", name)(switch)


_switch("h1-accept-payload-with-any-method", "Let HTTP/1.0 requests with GET, HEAD or DELETE have a body instead of answering 413.")
_switch(
    "h1-do-not-close-on-insecure-transfer-encoding",
    "Keep a connection after a message that had both Transfer-Encoding and Content-Length; the latter is dropped all the same.",
)


@keyword(PROXIES, "option http-restrict-req-hdr-names", args=(Rest(),), synopsis="{ preserve | delete | reject }")
def http_restrict_req_hdr_names(draft: ProxyDraft, line: Line, start: int) -> None:
    """What becomes of request fields whose names have other characters than letters, digits and hyphens: kept, deleted, or the request
    refused with 403. Looked at after the http-request rules of the proxy."""
    name = "option 'http-restrict-req-hdr-names'"
    if line.negated or line.default:
        line.fail(f"negation/default is not supported for {name}.", 1)
    word = line.words[start] if start < len(line.words) else ""
    if word not in POLICIES:
        what = f"invalid parameter '{word}'" if word else "missing parameter"
        line.fail(f"{what}. {name} expects 'preserve', 'reject' or 'delete' option.", start)
    end_of_line(line, start + 1)
    draft.settings["restrict-names"] = word
