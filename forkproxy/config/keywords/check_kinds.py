"""``option … -check``: which kind of check the servers of a section get (manual 4.2). The last one in a section holds."""

from __future__ import annotations

from typing import Any

from forkproxy.config.args import Rest
from forkproxy.config.drafts import ProxyDraft
from forkproxy.config.keywords.caps import PROXIES, backend_side, end_of_line
from forkproxy.config.line import Line
from forkproxy.registry import keyword


def _choose(draft: ProxyDraft, check: str, **options: Any) -> None:
    draft.settings["check_kind"] = check
    draft.settings["check_options"] = options
    draft.httpchk = None


def _no_negation(line: Line) -> None:
    if line.negated or line.default:
        line.fail(f"negation/default is not supported for option '{line.words[1]}'.", 1)


@keyword(PROXIES, "option httpchk", args=(Rest(),), synopsis="[ <method> ] [ <uri> [ <version> [ <host> ] ] ]")
def _httpchk(draft: ProxyDraft, line: Line, start: int) -> None:
    """Check servers with an HTTP request: any 2xx or 3xx is good unless ``http-check expect`` says otherwise."""
    _no_negation(line)
    if not backend_side(draft, line, "httpchk"):
        return
    words = line.words[start:]
    request: dict[str, str] = {"method": "OPTIONS", "uri": "/", "version": "HTTP/1.0"}
    if len(words) == 1:
        request["uri"] = words[0]
    elif words:
        request["method"], request["uri"] = words[0], words[1]
        if len(words) > 2:
            version, _, rest = words[2].replace("\\r\\n", "\r\n").partition("\r\n")
            request["version"] = version
            if rest:
                line.warn(
                    "'option httpchk' : hiding headers or body at the end of the version string is deprecated."
                    " Please, consider to use 'http-check send' directive instead.", start + 2,
                )  # fmt: skip
                headers, _, body = rest.partition("\r\n\r\n")
                request["headers"], request["body"] = headers, body
        if len(words) > 3:
            request["host"] = words[3]
        end_of_line(line, start + 4)
    _choose(draft, "http")
    draft.httpchk = request


def _plain(name: str, doc: str) -> None:
    def option(draft: ProxyDraft, line: Line) -> None:
        _no_negation(line)
        if backend_side(draft, line, name):
            _choose(draft, name)

    option.__doc__ = doc
    keyword(PROXIES, f"option {name}")(option)


_plain("tcp-check", "Check servers by what ``tcp-check`` rules say and expect; without any, by connecting to them.")
_plain("redis-check", "Check Redis servers: PING is answered with +PONG.")
_plain("ldap-check", "Check LDAPv3 servers: an anonymous bind succeeds.")
_plain("spop-check", "Check agents of stream processing: HELLO is answered with theirs.")
_plain("ssl-hello-chk", "Check that servers speak SSL or TLS: an SSLv3 hello is answered with a handshake or an alert.")


@keyword(PROXIES, "option smtpchk", args=(Rest(),), synopsis="[ <hello> <domain> ]")
def _smtpchk(draft: ProxyDraft, line: Line, start: int) -> None:
    """Check mail servers: greeting, HELO (or EHLO) and QUIT are answered with codes of 2xx."""
    _no_negation(line)
    if not backend_side(draft, line, "smtpchk"):
        return
    words = line.words[start:]
    hello = "HELO localhost"
    if len(words) >= 2 and words[0] in ("HELO", "EHLO"):
        hello = f"{words[0]} {words[1]}"
    end_of_line(line, start + 2)
    _choose(draft, "smtpchk", hello=hello)


@keyword(PROXIES, "option mysql-check", args=(Rest(),), synopsis="[ user <username> [ { post-41 | pre-41 | post-80 } ] ]")
def _mysql(draft: ProxyDraft, line: Line, start: int) -> None:
    """Check MySQL and MariaDB servers: they greet, and with ``user`` let a client without a password in."""
    _no_negation(line)
    if not backend_side(draft, line, "mysql-check"):
        return
    words = line.words[start:]
    if not words:
        _choose(draft, "mysql-check")
        return
    if words[0] != "user":
        line.fail(f"'option mysql-check' only supports optional values: 'user' but got '{words[0]}'.", start)
    if len(words) < 2 or not words[1]:
        line.fail("'option mysql-check' : 'user' expects <username> as argument.", start)
    client = words[2] if len(words) > 2 else "post-41"
    if client not in ("post-41", "pre-41", "post-80"):
        line.fail(f"'option mysql-check' : keyword only supports 'post-41', 'pre-41' and 'post-80' (got '{client}').", start + 2)
    end_of_line(line, start + 3)
    _choose(draft, "mysql-check", user=words[1], client=client)


@keyword(PROXIES, "option pgsql-check", args=(Rest(),), synopsis="user <username>")
def _pgsql(draft: ProxyDraft, line: Line, start: int) -> None:
    """Check PostgreSQL servers: they answer the beginning of a session of this user."""
    _no_negation(line)
    if not backend_side(draft, line, "pgsql-check"):
        return
    words = line.words[start:]
    if len(words) < 2 or words[0] != "user" or not words[1]:
        line.fail("'option pgsql-check' expects 'user' and <username> as arguments.", start)
    end_of_line(line, start + 2)
    _choose(draft, "pgsql-check", user=words[1])


_plain("external-check", "Check servers with a program of one's own (``external-check command``): exit status 0 is a good server.")


def _external(name: str, what: str, doc: str) -> None:
    def setting(draft: ProxyDraft, line: Line, start: int) -> None:
        if not backend_side(draft, line):
            return
        if start >= len(line.words):
            line.fail(f"missing argument after '{name}'.", start)
        end_of_line(line, start + 1)
        draft.settings[f"external_{name}"] = line.words[start]

    setting.__doc__ = doc
    keyword(PROXIES, f"external-check {name}", args=(Rest(),), synopsis=what)(setting)


_external("command", "<command>", "The program of ``option external-check``; it runs in the master, as the user of the workers.")
_external("path", "<path>", "The PATH of the program of ``option external-check``.")


@keyword(PROXIES, "external-check", args=(Rest(),))
def _unknown(draft: ProxyDraft, line: Line, start: int) -> None:
    """Catches what ``external-check`` does not have."""
    got = line.words[start] if start < len(line.words) else ""
    line.fail(f"'external-check' only supports 'command' and 'path'. but got '{got}'.", start)
