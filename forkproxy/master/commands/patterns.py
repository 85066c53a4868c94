"""Commands on lists of patterns: ``show/get/add/set/del/clear/prepare/commit`` ``map`` and ``acl`` (management manual 9.3).

The master's own copy is asked and changed, and the workers of the present generation are told; a change is answered when all of them
have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from forkproxy.master import patterns
from forkproxy.master.cli_session import Answer, Deferred, Refused, Session
from forkproxy.registry import Level, Type, command
from forkproxy.rules.patternfiles import Op, PatternFile, PatternFiles, View
from forkproxy.rules.patterns import METHODS, Entry
from forkproxy.rules.types import NEVER, find_cast
from forkproxy.rules.words import to_bytes, to_text

_NAMES = {"acl": "ACL", "map": "map"}
#: methods whose index is one that HAProxy calls a tree
_TREES = ("str", "ip", "beg")


def _lists(session: Session) -> PatternFiles:
    found: PatternFiles = session.plan.objects["patterns"]
    return found


def _one(session: Session, word: str, kind: str, called: str = "") -> PatternFile:
    """The list of ``kind`` that ``word`` means; ``called`` is what it is to be called when there is none."""
    file = _lists(session).find(word)
    if file is None or kind not in file.kinds:
        raise Refused(f"Unknown {called or _NAMES[kind]} identifier. Please use #<id> or <file>.")
    return file


def _version(words: list[str], at: int = 2) -> int | None:
    """The version that ``@ver`` says, taken out of ``words``; None without one."""
    if len(words) > at and words[at].startswith("@"):
        text = words.pop(at)[1:]
        if not text.isdecimal():
            raise Refused("Invalid version number.")
        return int(text)
    return None


def _change(session: Session, ops: list[Op]) -> Deferred:
    answer = Deferred()
    generation = session.master.supervisor.current
    if generation is None:
        raise Refused("No configuration is in force yet.")
    patterns.spread(session.master.supervisor, generation, ops, lambda: answer.finish(""))
    return answer


def _shown(entry: Entry) -> str:
    value = "" if entry.value is None else f" {to_text(entry.value)}"
    return f"{id(entry):#x} {to_text(entry.text)}{value}\n"


# -- looking ---------------------------------------------------------------------------------------------------------------


def _show(session: Session, words: list[str]) -> Iterator[str]:
    kind = words[1]
    version = _version(words)
    if len(words) > 2:
        file = _one(session, words[2], kind)
        return map(_shown, list(file.of(version)))  # a copy: the answer may take longer than the next change
    lists = [f for f in _lists(session).lists if kind in f.kinds]
    return chain(("# id (file) description\n",), (_described(f) for f in sorted(lists, key=lambda f: f.number)))


def _described(file: PatternFile) -> str:
    uses = ", ".join(file.uses)
    what = f"pattern loaded from file '{file.name}' used {uses}" if file.name else uses
    return f"{file.number} ({file.name}) {what}. curr_ver={file.version} next_ver={file.newest} entry_cnt={file.entries()}\n"


def _get(session: Session, words: list[str]) -> str:
    kind = words[1]
    if len(words) < 4:
        raise Refused(f"Missing {_NAMES[kind]} identifier and/or key.")
    file = _one(session, words[2], kind)
    return "".join(_found(view, to_bytes(words[3]), kind) for view in file.views)


def _found(view: View, text: bytes, kind: str) -> str:
    cast = find_cast(Type.STR, METHODS[view.method])
    value: Any = text if cast is None else cast(text) if cast is not NEVER else None
    entry: Entry | None = view.find(value) if value is not None else None
    verb, noun = ("found", "key") if kind == "map" else ("match", "pattern")
    line = f"type={view.method}, case={'insensitive' if view.icase else 'sensitive'}, {verb}="
    if entry is None:
        return line + "no\n"
    line += f'yes, idx={"tree" if view.method in _TREES and not view.icase else "list"}, {noun}="{to_text(entry.text)}"'
    if kind == "map":
        line += ", value=none" if entry.value is None else f', value="{to_text(entry.value)}", type="str"'
    return line + "\n"


# -- entries ---------------------------------------------------------------------------------------------------------------


def _checked(file: PatternFile, key: str, value: str | None, version: int | None) -> Op:
    if version is not None and version > file.newest:
        raise Refused(f"Version number in the future, please use 'prepare {'map' if file.is_map else 'acl'}' before.")
    try:
        file.check(Entry(to_bytes(key), None if value is None else to_bytes(value)))
    except ValueError as err:
        raise Refused(str(err) if str(err).endswith(".") else f"{err}.") from None
    return ["add", file.number, version, key, value]


@command("add map", level=Level.USER, synopsis="add map [@<ver>] <map> <key> <val>")
def add_map(session: Session, words: list[str]) -> Deferred:
    """Add a map entry (payload supported instead of key/val)."""
    version = _version(words)
    if len(words) < 3 or (session.payload is None and len(words) < 5):
        raise Refused("'add map' expects three parameters (map identifier, key and value) or one parameter (map identifier) and a payload")
    file = _one(session, words[2], "map")
    if session.payload is None:
        return _change(session, [_checked(file, words[3], words[4], version)])
    ops = []
    for line in session.payload.splitlines():
        key, *value = line.split(None, 1)[:2] or [""]
        if key and not value:
            raise Refused(f"Missing value for key '{key}'.")
        if key:
            ops.append(_checked(file, key, value[0].rstrip(), version))
    return _change(session, ops)


@command("add acl", level=Level.USER, synopsis="add acl [@<ver>] <acl> <pattern>")
def add_acl(session: Session, words: list[str]) -> Deferred:
    """Add an acl entry."""
    version = _version(words)
    if len(words) != 4:
        raise Refused("'add acl' expects two parameters: ACL identifier and pattern.")
    file = _one(session, words[2], "acl")
    if file.is_map:
        raise Refused("This ACL is shared with a map containing samples. You must use the command 'add map' to add values.")
    return _change(session, [_checked(file, words[3], None, version)])


def _key(file: PatternFile, word: str, missing: str) -> tuple[str, int | None]:
    """The key that a word means, and which of its entries (``#ref``); None: all."""
    if not word.startswith("#"):
        if to_bytes(word) not in file.contents.table:
            raise Refused(missing)
        return word, None
    try:
        reference = int(word[1:], 16)
    except ValueError:
        raise Refused(missing) from None
    for entry in file.contents:
        if id(entry) == reference:
            return to_text(entry.text), file.contents.of(entry.text).index(entry)
    raise Refused(missing)


@command("set map", level=Level.USER, synopsis="set map <map> [<key>|#<ref>] <value>")
def set_map(session: Session, words: list[str]) -> Deferred:
    """Modify a map entry."""
    if len(words) < 5:
        raise Refused("'set map' expects three parameters: map identifier, key and value.")
    file = _one(session, words[2], "map")
    key, which = _key(file, words[3], "entry not found.")
    _checked(file, key, words[4], None)
    return _change(session, [["set", file.number, key, which, words[4]]])


def _delete(session: Session, words: list[str]) -> Deferred:
    if len(words) < 4:
        raise Refused(f"This command expects two parameters: {_NAMES[words[1]]} identifier and key.")
    file = _one(session, words[2], words[1], "map")  # so says haproxy
    key, which = _key(file, words[3], "Key not found.")
    return _change(session, [["del", file.number, key, which]])


# -- versions --------------------------------------------------------------------------------------------------------------


def _clear(session: Session, words: list[str]) -> Deferred:
    version = _version(words)
    if len(words) < 3:
        raise Refused(f"Missing {_NAMES[words[1]]} identifier.")
    file = _one(session, words[2], words[1])
    return _change(session, [["clear", file.number, version]])


def _prepare(session: Session, words: list[str]) -> str:
    if len(words) < 3:
        raise Refused(f"Missing {_NAMES[words[1]]} identifier.")
    file = _one(session, words[2], words[1])
    _change(session, [["prepare", file.number]])  # nobody looks at a new version: its number can be told at once
    return f"New version created: {file.newest}\n"


def _commit(session: Session, words: list[str]) -> Deferred:
    version = _version(words)
    if version is None:
        raise Refused("Missing version number.")
    if len(words) < 3:
        raise Refused(f"Missing {_NAMES[words[1]]} identifier.")
    file = _one(session, words[2], words[1])
    if not file.version < version <= file.newest:
        raise Refused("Version number out of range.")
    return _change(session, [["commit", file.number, version]])


def _for_both(verb: str, act: Callable[[Session, list[str]], Answer], synopsis: str, doc: str) -> None:
    """Register a command that maps and ACLs have; ``{kind}`` and ``{name}`` in its texts are filled in."""
    for kind, name in (("map", "map"), ("acl", "ACL")):

        def run(session: Session, words: list[str]) -> Answer:
            return act(session, words)

        run.__doc__ = doc.format(kind=kind, name=name)
        command(f"{verb} {kind}", level=Level.USER, synopsis=synopsis.format(kind=kind))(run)


_for_both("show", _show, "show {kind} [@<ver>] [{kind}]", "Report available {name}s or dump the contents of one.")
_for_both("get", _get, "get {kind} <{kind}> <key>", "Report what a sample finds in each way the {name} is used.")
_for_both("del", _delete, "del {kind} <{kind}> [<key>|#<ref>]", "Delete {name} entries matching <key>.")
_for_both("clear", _clear, "clear {kind} [@<ver>] <{kind}>", "Clear the contents of this {name}.")
_for_both("prepare", _prepare, "prepare {kind} <{kind}>", "Prepare a new version for atomic {name} replacement.")
_for_both("commit", _commit, "commit {kind} @<ver> <{kind}>", "Commit this version of the {name}.")
