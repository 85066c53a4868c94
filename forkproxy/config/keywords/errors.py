"""What clients get in place of our own error messages (manual 4.2): errorfile, errorloc, errorfiles, http-error."""

from __future__ import annotations

from forkproxy.config.args import Rest
from forkproxy.config.drafts import ProxyDraft, RuleDraft
from forkproxy.config.keywords.caps import PROXIES
from forkproxy.config.keywords.http_errors import STATUSES, read_errorfile
from forkproxy.config.line import Line
from forkproxy.plan import ErrorReply
from forkproxy.registry import keyword


def _status(line: Line, index: int, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) not in STATUSES:
        line.fail(f"{line.keyword} : status code '{text}' not handled.", index)
    return int(text)


@keyword(PROXIES, "errorfile", args=(Rest(),), synopsis="<code> <file>")
def _errorfile(draft: ProxyDraft, line: Line, start: int) -> None:
    """Answer ``code`` with a whole HTTP message from a file; an empty file closes silently."""
    reply = read_errorfile(line)
    draft.errors[reply.status] = reply
    draft.settings.setdefault("errorfile-lines", {})[reply.status] = line


def _errorloc(name: str, code: int, doc: str) -> None:
    def errorloc(draft: ProxyDraft, line: Line, start: int) -> None:
        words = line.words[start:]
        if len(words) < 2:
            line.fail(f"{name} : expects <status_code> and <url> as arguments.", start + len(words))
        if len(words) > 2:
            line.fail(f"'{name}' cannot handle unexpected argument '{words[2]}'.", start + 2)
        status = _status(line, start, words[0])
        draft.errors[status] = ErrorReply(status=status, location=words[1], location_code=code)

    errorloc.__doc__ = doc
    keyword(PROXIES, name, args=(Rest(),), synopsis="<code> <url>")(errorloc)


_errorloc("errorloc", 302, "Redirect with 302 in place of answering ``code``.")
_errorloc("errorloc302", 302, "Redirect with 302 in place of answering ``code``.")
_errorloc("errorloc303", 303, "Redirect with 303 in place of answering ``code``.")


@keyword(PROXIES, "errorfiles", args=(Rest(),), synopsis="<name> [ <code> ... ]")
def _errorfiles(draft: ProxyDraft, line: Line, start: int) -> None:
    """Take the messages of an http-errors section, all or those of some codes."""
    if start >= len(line.words) or not line.words[start]:
        line.fail("errorfiles : expects <name> as argument.", start)
    codes = tuple(_status(line, index, text) for index, text in enumerate(line.words[start + 1 :], start + 1))
    draft.errorfiles.append((line, line.words[start], codes))


@keyword(
    PROXIES, "http-error", args=(Rest(),),
    synopsis="status <code> [ content-type <type> ] [ { errorfile | errorfiles | file | lf-file | string | lf-string } <arg> ]"
    " [ hdr <name> <format> ]*",
)  # fmt: skip
def _http_error(draft: ProxyDraft, line: Line, start: int) -> None:
    """Answer ``code`` with a message made of parts."""
    words = line.words
    at = words.index("status") if "status" in words[start:] else -1
    if at < 0 or at + 1 >= len(words):
        line.fail("http-error : expects at least a <status> as arguments.", start)
    status = _status(line, at + 1, words[at + 1])
    if "default-errorfiles" in words[start:]:
        draft.errors.pop(status, None)
        return
    draft.rules.append(RuleDraft("http-error", line, start))
