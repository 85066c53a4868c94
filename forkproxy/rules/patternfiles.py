"""Pattern files: the lists behind ``-f``, ``-u`` and maps, which the operator and rules change at run time (manual 2.7, 7.1, and 9.3 of the
management manual).

Theory. Every process has its own copy of the lists, made before the fork. A change is a small operation (:data:`Op`) that is carried out
on each copy in the order in which the master heard of it: the master's own first, so that a worker forked later has it, then every
worker's. What a rule changes takes effect in its worker at once, which tells the master, which tells all: whatever two workers say of one
key at the same time, in the end all have what the master heard last. So what rules do (``put``, ``once``, ``drop``) may be done twice.

A list has versions: entries are added to one that nobody looks at yet, and ``commit`` puts it in the place of the present one at once.

Who looks something up asks a :class:`View`, one way to use a list. Exact strings are found in the list's own dictionary; every other index
is made anew at the first look-up after a change, of which networks added since are found by an index of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from forkproxy.progress import each
from forkproxy.rules.patterns import Entry, Find, build_index, parse_network
from forkproxy.rules.words import to_bytes, to_text

#: One change: its name, the number of the list, arguments as :meth:`PatternFiles.apply` takes them. Texts are strings
#: (``words.to_text``), so that it is a JSON value.
Op = list[Any]

#: So many new networks are kept in an index of their own before the large one is made anew.
YOUNG = 1000


#: So many characters of texts travel in one message, whose quoting may make six of one.
LOT = 24_000


def lots(ops: Iterable[Op]) -> Iterator[list[Op]]:
    """``ops`` in lots that fit a packet of the control channel; a single one that does not is left to itself."""
    lot: list[Op] = []
    size = 0
    for op in ops:
        length = 40 + sum(len(arg) for arg in op if isinstance(arg, str))
        if lot and size + length > LOT:
            yield lot
            lot, size = [], 0
        lot.append(op)
        size += length
    if lot:
        yield lot


class Contents:
    """The entries of one version: a dictionary by key, and further entries with the same key."""

    __slots__ = ("more", "table")

    def __init__(self) -> None:
        self.table: dict[bytes, Entry] = {}
        self.more: dict[bytes, list[Entry]] = {}

    def __iter__(self) -> Iterator[Entry]:
        more = self.more
        if not more:
            return iter(self.table.values())
        return (e for first in self.table.values() for e in (first, *more.get(first.text, ())))

    def __len__(self) -> int:
        return len(self.table) + sum(map(len, self.more.values()))

    def add(self, entry: Entry) -> None:
        """Append an entry; one with a key that is there already is found by nobody until that one goes."""
        if self.table.setdefault(entry.text, entry) is not entry:
            self.more.setdefault(entry.text, []).append(entry)

    def of(self, key: bytes) -> list[Entry]:
        """The entries with that key, the one that is found first."""
        first = self.table.get(key)
        return [] if first is None else [first, *self.more.get(key, ())]

    def remove(self, key: bytes, which: int | None) -> None:
        """Take out the entries with that key, or one of them."""
        left = [] if which is None else self.of(key)
        if left and which is not None:
            del left[which : which + 1]
        self.more.pop(key, None)
        if not left:
            self.table.pop(key, None)
            return
        self.table[key] = left[0]
        if left[1:]:
            self.more[key] = left[1:]


class View:
    """One way to use a list: ``find(value)`` is always the index of the present contents.

    ``_young`` are networks that were added after the large index was made; ``_table`` is the index of strings whose case is ignored.
    """

    __slots__ = ("_file", "_old", "_table", "_young", "find", "icase", "method", "resolve")

    def __init__(self, file: PatternFile, method: str, icase: bool, resolve: bool) -> None:
        self._file = file
        self._old: Find = self._first
        self._table: dict[bytes, Entry] = {}
        self._young: list[Entry] = []
        self.method = method
        self.icase = icase
        self.resolve = resolve
        self.find: Find = self._first
        self.make()

    def make(self) -> None:
        """Make the index. Raises ValueError for an entry that the method cannot read."""
        contents = self._file.contents
        self._young = []
        if self.method != "str":
            self.find = build_index(self.method, list(contents), icase=self.icase, resolve=self.resolve)
        elif not self.icase:
            self.find = contents.table.get  # changes with the contents
        else:
            table = self._table = {}
            for entry in contents:
                table.setdefault(entry.text.lower(), entry)
            get = table.get
            self.find = lambda value: get(value.lower())

    def added(self, entry: Entry) -> None:
        """The contents have one entry more."""
        if self.method == "str":
            if self.icase and self.find != self._first:
                self._table.setdefault(entry.text.lower(), entry)
            return
        if self.method != "ip" or self.find == self._first or len(self._young) >= YOUNG:
            self.find = self._first
            return
        if not self._young:
            self._old = self.find
        self._young.append(entry)
        young, old = build_index("ip", self._young, resolve=False), self._old

        def both(value: Any) -> Entry | None:
            new: Entry | None = young(value)
            found: Entry | None = old(value)
            if new is None or found is None:
                return new or found
            return new if _size(new) < _size(found) else found

        self.find = both

    def renew(self) -> None:
        """The contents changed otherwise."""
        if self.method == "str" and not self.icase:
            self.find = self._file.contents.table.get
        else:
            self.find = self._first

    def _first(self, value: Any) -> Entry | None:
        """The first question after a change. What a runtime change brought was checked before; a name that resolves no more is nothing."""
        try:
            self.make()
        except ValueError:
            readable = [entry for entry in self._file.contents if self._reads(entry)]
            self.find = build_index(self.method, readable, icase=self.icase, resolve=self.resolve)
        found: Entry | None = self.find(value)
        return found

    def check(self, entry: Entry) -> None:
        """Raise ValueError when the method cannot read ``entry``; names of hosts are not resolved at run time."""
        build_index(self.method, [entry], icase=self.icase, resolve=False)

    def _reads(self, entry: Entry) -> bool:
        try:
            self.check(entry)
        except ValueError:
            return False
        return True


def _size(entry: Entry) -> int:
    """How many addresses a network has."""
    first, last, six = parse_network(to_text(entry.text), False)
    return last - first if six else (last - first) << 96


class PatternFile:
    """One list, shared by everything that names it. ``number`` identifies it (``-u``, or by order), ``name`` is its file's ("" for the
    patterns of one ACL line). ``is_map``: its lines have a second column. ``kinds`` are what uses it ("map",
    "acl") and ``uses`` where, for the operator;
    ``readers`` are what must be able to read a value (``map_str_int`` …)."""

    __slots__ = ("contents", "freed", "is_map", "kinds", "name", "newest", "number", "readers", "staged", "uses", "version", "views")

    def __init__(self, name: str, is_map: bool) -> None:
        self.name = name
        self.is_map = is_map
        self.number = -1
        self.contents = Contents()
        self.freed = 0  # entries that were taken out so far
        self.version = self.newest = 0
        self.staged: dict[int, Contents] = {}
        self.views: list[View] = []
        self.kinds: set[str] = set()
        self.uses: list[str] = []
        self.readers: list[Callable[[bytes], Any]] = []

    def load(self, text: bytes) -> None:
        """Read the lines of ``text``: blank ones and those that begin with ``#`` are skipped."""
        add = self.contents.add
        values: dict[bytes, bytes] = {}  # many keys lead to few values, which are kept once
        for line in each(text.removesuffix(b"\n").split(b"\n"), f"reading {self.name}", "lines"):
            if line.startswith(b"#"):
                continue
            line = line.strip(b" \t\r")
            if not line:
                continue
            if self.is_map:
                key, *rest = line.split(None, 1)
                value = rest[0] if rest else b""
                add(Entry(key, values.setdefault(value, value)))
            else:
                add(Entry(line))

    def place(self, entry: Entry) -> str:
        """Where an entry of the file stands, for messages."""
        with open(path_of(self.name), "rb") as f:
            for number, line in enumerate(f, 1):
                words = line.split(None, 1)
                if words and words[0] == entry.text:
                    return f"at line {number} of file '{self.name}'"
        return f"in file '{self.name}'"

    def view(self, method: str, icase: bool = False, resolve: bool = True) -> View:
        """The view for ``method``; equal uses share one. Raises ValueError for a line that the method cannot read."""
        for view in self.views:
            if (view.method, view.icase, view.resolve) == (method, icase, resolve):
                return view
        try:
            view = View(self, method, icase, resolve)
        except ValueError as err:
            raise ValueError(f"{err} in file '{self.name}'" if self.name else str(err)) from None
        self.views.append(view)
        return view

    def check(self, entry: Entry) -> None:
        """Raise ValueError when somebody who uses the list cannot read ``entry``, or a message cannot hold it."""
        if len(entry.text) + len(entry.value or b"") > LOT:
            raise ValueError(f"too long, at most {LOT} bytes fit.")
        for view in self.views:
            view.check(entry)
        for read in self.readers:
            value = entry.value or b""
            if read(value) is None:
                raise ValueError(f"unable to parse '{to_text(value)}'.")

    def of(self, version: int | None) -> Contents:
        """The contents of a version, None being the present one; an unknown one is empty."""
        if version is None or version == self.version:
            return self.contents
        return self.staged.get(version, Contents())

    def entries(self) -> int:
        """How many entries there are in all versions."""
        return len(self.contents) + sum(map(len, self.staged.values()))

    # -- changes: what operations do

    def add(self, version: int | None, key: bytes, value: bytes | None) -> None:
        """Append an entry to a version."""
        entry = Entry(key, value)
        if version is not None and version != self.version:
            self.staged.setdefault(version, Contents()).add(entry)
            return
        self.contents.add(entry)
        for view in self.views:
            view.added(entry)

    def set(self, key: bytes, which: int | None, value: bytes) -> None:
        """Give all entries of a key another value, or one of them."""
        entries = self.contents.of(key)
        for entry in entries if which is None else entries[which : which + 1]:
            entry.value = value

    def remove(self, key: bytes, which: int | None) -> None:
        """Take out all entries of a key, or one of them."""
        had = len(self.contents.of(key))
        self.contents.remove(key, which)
        self.freed += had - len(self.contents.of(key))
        self._renew()

    def clear(self, version: int | None) -> None:
        """Take out all entries of a version."""
        if version is not None and version != self.version:
            self.freed += len(self.staged.pop(version, ()))
            return
        self.freed += len(self.contents)
        self.contents = Contents()
        self._renew()

    def prepare(self) -> None:
        """Another version, with nothing in it."""
        self.newest = (self.newest + 1) & 0xFFFFFFFF

    def commit(self, version: int) -> None:
        """Let a version be the present one, and older ones go."""
        had = self.entries()
        self.contents = self.staged.pop(version, Contents())
        self.staged = {v: held for v, held in self.staged.items() if v > version}
        self.version = version
        self.freed += had - self.entries()
        self._renew()

    def put(self, key: bytes, value: bytes) -> None:
        """The value of a key from now on, whether it had one or not."""
        if key in self.contents.table:
            self.set(key, None, value)
        else:
            self.add(None, key, value)

    def once(self, key: bytes) -> None:
        """Have an entry with this key."""
        if key not in self.contents.table:
            self.add(None, key, None)

    def drop(self, key: bytes) -> None:
        """Have no entry with this key."""
        if key in self.contents.table:
            self.remove(key, None)

    def _renew(self) -> None:
        for view in self.views:
            view.renew()


def path_of(name: str) -> str:
    """The path in the name of a list (manual 2.7: ``file@``, ``opt@``, ``virt@`` or none of them); "" where there is no file."""
    kind, at, path = name.partition("@")
    if not at or kind not in ("file", "opt", "virt"):
        return name
    return "" if kind == "virt" else path


class PatternFiles:
    """All lists of one configuration. ``announce`` is what a worker sets: it is told of the changes that rules make."""

    __slots__ = ("_numbered", "announce", "files", "lists")

    def __init__(self) -> None:
        self.files: dict[str, PatternFile] = {}
        self.lists: list[PatternFile] = []  # in order of appearance, unnamed ones included
        self.announce: Callable[[Op], None] | None = None
        self._numbered: dict[int, PatternFile] = {}

    def get(self, name: str, is_map: bool, kind: str = "", where: str = "") -> PatternFile:
        """The file ``name``, read on first use; ``kind`` ("map", "acl") is who wants it, and ``where`` it stands. Raises ValueError when it
        cannot be read."""
        file = self.files.get(name)
        if file is None:
            file = PatternFile(name, is_map)
            path = path_of(name)
            try:
                if path:
                    with open(path, "rb") as f:
                        file.load(f.read())
            except FileNotFoundError:
                if not name.startswith("opt@"):
                    raise ValueError(f"failed to open pattern file <{name}>") from None
            except OSError as err:
                raise ValueError(f"failed to open pattern file <{name}> : {err.strerror}") from None
            self.files[name] = file
            self.lists.append(file)
        elif is_map and not file.is_map:
            raise ValueError(f"file '{name}' is used as a list of patterns elsewhere, it cannot be a map here")
        if kind:
            file.kinds.add(kind)
            use = f"by {kind} at {where}"
            if use not in file.uses:
                file.uses.append(use)
        return file

    def inline(self, number: int, use: str) -> PatternFile:
        """The list of the patterns of one ACL line, with the number that the line asks for. Raises ValueError when that is taken."""
        if any(other.number == number for other in self.lists):
            raise ValueError(f"pattern list with unique id {number} already exists")
        file = PatternFile("", False)
        file.number = number
        file.kinds.add("acl")
        file.uses.append(use)
        self.lists.append(file)
        return file

    def settle(self) -> None:
        """The whole configuration is read: lists that asked for no number get the next ones that are free."""
        taken = {file.number for file in self.lists}
        number = 0
        for file in self.lists:
            if file.number < 0:
                while number in taken:
                    number += 1
                file.number = number
                taken.add(number)
        self._numbered = {file.number: file for file in self.lists}

    def moved(self) -> tuple[int, int]:
        """(how many patterns were added to all lists so far, how many taken out)."""
        freed = sum(made.freed for made in self.lists)
        return freed + sum(made.entries() for made in self.lists), freed

    def find(self, word: str) -> PatternFile | None:
        """The list that ``#number`` or a name means."""
        if not word.startswith("#"):
            return self.files.get(word)
        return next((file for file in self.lists if word[1:] == str(file.number)), None)

    def apply(self, ops: Iterable[Op]) -> None:
        """Carry out changes."""
        for name, number, *args in ops:
            file = self._numbered[number]
            values: list[Any] = [to_bytes(arg) if isinstance(arg, str) else arg for arg in args]
            match name, values:
                case "add", [version, key, value]:
                    file.add(version, key, value)
                case "set", [key, which, value]:
                    file.set(key, which, value)
                case "del", [key, which]:
                    file.remove(key, which)
                case "clear", [version]:
                    file.clear(version)
                case "prepare", []:
                    file.prepare()
                case "commit", [version]:
                    file.commit(version)
                case "put", [key, value]:
                    file.put(key, value)
                case "once", [key]:
                    file.once(key)
                case "drop", [key]:
                    file.drop(key)
                case _:
                    raise ValueError(f"unknown change {name!r}")

    def changed_by_rule(self, op: Op) -> None:
        """A rule wants a change: it is made here, and the others are told."""
        self.apply((op,))
        if self.announce is not None:
            self.announce(op)


class Loaded(PatternFiles):
    """The lists of a configuration as an expression sees them that comes at run time: none is read from a file, none is added."""

    __slots__ = ()

    def __init__(self, of: PatternFiles) -> None:
        super().__init__()
        self.files = of.files

    def get(self, name: str, is_map: bool, kind: str = "", where: str = "") -> PatternFile:
        """See :meth:`PatternFiles.get`."""
        if name not in self.files:
            raise ValueError(f"file '{name}' cannot be loaded at run time")
        return super().get(name, is_map)

    def inline(self, number: int, use: str) -> PatternFile:
        """See :meth:`PatternFiles.inline`."""
        raise ValueError("no pattern list can be made at run time")
