"""Actions on lists of patterns: set-map, del-map, add-acl, del-acl (manual 4.4). What one worker changes reaches all of them."""

from __future__ import annotations

from typing import Any

from forkproxy.plan import Step
from forkproxy.registry import action
from forkproxy.rules.action import ALL_HTTP, HTTP_REQ, HTTP_RES, Parser
from forkproxy.rules.patternfiles import PatternFile
from forkproxy.rules.patterns import Entry
from forkproxy.rules.words import to_text


def _list(p: Parser, is_map: bool) -> PatternFile:
    if not p.inside:
        p.words.fail(f"'{p.name}' expects the name of a file in parentheses, as in '{p.name}(hosts.map)'")
    try:
        return p.ctx.files.get(p.inside, is_map, "map" if is_map else "acl", p.ctx.where)
    except ValueError as err:
        p.words.fail(str(err))


@action("set-map", at=ALL_HTTP, prefix=True, synopsis="(<map-name>) <key fmt> <value fmt>")
def set_map(p: Parser) -> Step:
    """Give a key of a map a value, whether it had one or not; what the map's users cannot read is let be."""
    file, files = _list(p, True), p.ctx.files
    key_of, value_of = p.format("a key", "raw").render, p.format("a value", "raw").render

    def step(txn: Any) -> None:
        key, value = key_of(txn), value_of(txn)
        entry = file.contents.table.get(key)
        if entry is not None and entry.value == value:
            return  # what everybody knows needs no telling
        try:
            file.check(Entry(key, value))
        except ValueError:
            return
        files.changed_by_rule(["put", file.number, to_text(key), to_text(value)])

    return step


@action("del-map", at=ALL_HTTP, prefix=True, synopsis="(<map-name>) <key fmt>")
def del_map(p: Parser) -> Step:
    """Take a key out of a map."""
    return _deleting(p, True)


@action("add-acl", at=(HTTP_REQ, HTTP_RES), prefix=True, synopsis="(<file-name>) <key fmt>")
def add_acl(p: Parser) -> Step:
    """Have a pattern in the list of an ACL's file; what its users cannot read is let be."""
    file, files = _list(p, False), p.ctx.files
    key_of = p.format("a key", "raw").render

    def step(txn: Any) -> None:
        key = key_of(txn)
        if key in file.contents.table:
            return
        try:
            file.check(Entry(key, b""))
        except ValueError:
            return
        files.changed_by_rule(["once", file.number, to_text(key)])

    return step


@action("del-acl", at=ALL_HTTP, prefix=True, synopsis="(<file-name>) <key fmt>")
def del_acl(p: Parser) -> Step:
    """Take a pattern out of the list of an ACL's file."""
    return _deleting(p, False)


def _deleting(p: Parser, is_map: bool) -> Step:
    file, files = _list(p, is_map), p.ctx.files
    key_of = p.format("a key", "raw").render

    def step(txn: Any) -> None:
        key = key_of(txn)
        if key in file.contents.table:
            files.changed_by_rule(["drop", file.number, to_text(key)])

    return step
