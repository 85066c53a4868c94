"""``balance`` and ``hash-type`` (manual 4.2): the algorithm's words are read here, its key is compiled when the plan is built."""

from __future__ import annotations

from typing import Any

from forkproxy.config.args import Int, OneOf, Rest
from forkproxy.config.drafts import BalanceDraft, ProxyDraft, RuleDraft
from forkproxy.config.keywords.caps import PROXIES, backend_side, end_of_line
from forkproxy.config.line import Line
from forkproxy.registry import keyword

PLAIN = ("roundrobin", "static-rr", "leastconn", "first", "source")
KNOWN_ELSEWHERE = ("log-hash", "sticky")
FUNCTIONS = ("sdbm", "djb2", "crc32", "wt6", "none")
#: algorithms that look at a request and so need HTTP mode
HTTP_ALGORITHMS = frozenset({"uri", "url_param", "hdr"})


@keyword(PROXIES, "balance", args=(Rest(),), default="random", synopsis="<algorithm> [ <arguments> ]")
def _balance(draft: ProxyDraft, line: Line, start: int) -> None:
    """How a server is chosen among those that can serve."""
    if backend_side(draft, line):
        algorithm, args = parse_balance(line, start)
        draft.balance = BalanceDraft(RuleDraft("balance", line, start), algorithm, args)


def parse_balance(line: Line, start: int) -> tuple[str, tuple[Any, ...]]:
    """Algorithm and its arguments in the form of ``plan.Balance``: see each branch for the shape of the arguments."""
    word = line.words[start] if start < len(line.words) else "random"
    name, paren, inner = word.partition("(")
    if paren:
        closing = inner.rfind(")")
        rest, inner = inner[closing + 1 :], inner[:closing] if closing >= 0 else inner
        if closing < 0 or rest:
            line.fail(f"balance {name} : missing or misplaced closing parenthesis in '{word}'.", start)
    if word in PLAIN:
        end_of_line(line, start + 1)
        return word, ()
    if word == "uri":
        return "uri", _uri(line, start + 1)
    if word == "url_param":
        return "url_param", _url_param(line, start + 1)
    if word == "hash":
        if start + 1 >= len(line.words):
            line.fail("balance hash requires a sample expression.", start)
        return "hash", ()
    if name == "hdr" and paren:
        if not inner:
            line.fail("balance hdr requires an http header field name.", start)
        only = line.words[start + 1] if start + 1 < len(line.words) else ""
        if only and only != "use_domain_only":
            line.fail(f"balance hdr(name) only accepts 'use_domain_only' modifier (got '{only}').", start + 1)
        end_of_line(line, start + 2)
        return "hdr", (inner, bool(only))
    if name == "random" and (paren or word == "random"):
        draws = inner if paren else "2"
        if not (draws.isascii() and draws.isdigit()):
            line.fail(f"balance random : unexpected character '{draws[:1]}' after argument.", start)
        if int(draws) < 1:
            line.fail("balance random : number of draws must be at least 1.", start)
        end_of_line(line, start + 1)
        return "random", (int(draws),)
    if name == "rdp-cookie" and (paren or word == "rdp-cookie"):
        if paren and not inner:
            line.fail("balance rdp-cookie : missing cookie name.", start)
        end_of_line(line, start + 1)
        return "rdp-cookie", (inner or "mstshash",)
    if name in KNOWN_ELSEWHERE:
        line.fail(f"balance '{name}' is known to HAProxy, not supported by forkproxy yet", start)
    line.fail(
        "balance only supports 'roundrobin', 'static-rr', 'leastconn', 'first', 'random', 'source', 'uri', 'url_param',"
        " 'hash', 'hdr(name)', 'rdp-cookie(name)' options.", start,
    )  # fmt: skip


def _uri(line: Line, index: int) -> tuple[int, int, bool, bool]:
    """(len, depth, whole, path-only); 0 stands for no limit."""
    limits = {"len": 0, "depth": 0}
    whole = path_only = False
    while index < len(line.words):
        word = line.words[index]
        if word in limits:
            value = line.words[index + 1] if index + 1 < len(line.words) else ""
            if not (value.isascii() and value.isdigit() and int(value) > 0):
                line.fail(f"balance uri : '{word}' expects a positive integer (got '{value}').", index + 1)
            limits[word] = int(value)
            index += 2
        elif word in ("whole", "path-only"):
            whole, path_only = whole or word == "whole", path_only or word == "path-only"
            index += 1
        else:
            line.fail(f"balance uri only accepts parameters 'len', 'depth', 'path-only', and 'whole' (got '{word}').", index)
    return limits["len"], limits["depth"], whole, path_only


def _url_param(line: Line, index: int) -> tuple[str, bool]:
    """(parameter, look into the body of POST requests)."""
    if index >= len(line.words):
        line.fail("balance url_param requires an URL parameter name.", index - 1)
    name, more = line.words[index], line.words[index + 1 :]
    if not more:
        return name, False
    if more[0] != "check_post":
        line.fail(f"balance url_param only accepts 'check_post' modifier (got '{more[0]}').", index + 1)
    if len(more) > 1 and not (more[1].isascii() and more[1].isdigit()):
        line.fail(f"balance url_param : unexpected argument '{more[1]}' after 'check_post'.", index + 2)
    end_of_line(line, index + 3)
    return name, True


@keyword(PROXIES, "hash-type", args=(Rest(),), default="map-based", synopsis="<method> [ <function> [ avalanche ] ]")
def _hash_type(draft: ProxyDraft, line: Line, start: int) -> None:
    """How a hashed key maps to a server: method, hash function, modifier."""
    if not backend_side(draft, line):
        return
    words = line.words[start:]
    if not words or words[0] not in ("map-based", "consistent", "avalanche"):
        line.fail("'hash-type' only supports 'consistent' and 'map-based'.", start)
    if words[0] == "avalanche":
        line.fail("'hash-type avalanche' is not supported anymore, please use 'map-based sdbm avalanche' instead.", start)
    method = words[0]
    if len(words) == 1:
        draft.hash_type = (method, "sdbm", "avalanche" if method == "consistent" else "")
        return
    if words[1] not in FUNCTIONS:
        line.fail("'hash-type' only supports 'sdbm', 'djb2', 'crc32', 'wt6' or 'none' hash functions.", start + 1)
    modifier = words[2] if len(words) > 2 else ""
    if modifier and modifier != "avalanche":
        line.fail("'hash-type' only supports 'avalanche' as a modifier for hash functions.", start + 2)
    end_of_line(line, start + 3)
    draft.hash_type = (method, words[1], modifier)


@keyword(PROXIES, "hash-balance-factor", args=(Int(),), default=0)
def _hash_balance_factor(draft: ProxyDraft, line: Line, value: int) -> None:
    """Consistent hashing with bounded load: the most a server may have, in percent of the average. 0: no bound."""
    if not backend_side(draft, line):
        return
    if value != 0 and value <= 100:
        line.fail("'hash-balance-factor' must be 0 or greater than 100.", 1)
    draft.settings["hash-balance-factor"] = value


@keyword(PROXIES, "hash-preserve-affinity", args=(OneOf("always", "maxconn", "maxqueue"),), default="always")
def _hash_preserve_affinity(draft: ProxyDraft, line: Line, value: str) -> None:
    """Whether a hashed server that is full (maxconn) or has a full queue (maxqueue) is left for the next on the ring."""
    if backend_side(draft, line):
        draft.settings["hash-preserve-affinity"] = value
