"""Converters that look a value up in a map file (manual 7.3.1 "map"): ``map_<match>_<output>(file[,default])``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forkproxy.registry import Type, converter
from forkproxy.rules.actions.headers import expand
from forkproxy.rules.args import Arg, Context, Int, Str
from forkproxy.rules.context import RuleContext
from forkproxy.rules.patternfiles import View
from forkproxy.rules.patterns import METHODS, compile_regex
from forkproxy.rules.types import parse_addr, read_int
from forkproxy.rules.words import to_text


def _number(value: bytes) -> int | None:
    return read_int(value) if value.lstrip(b"+-").isdigit() else None


#: output → (how its values are read, what they are)
_READERS: dict[str, tuple[Callable[[bytes], Any], str]] = {"int": (_number, "an integer"), "ip": (parse_addr, "an address")}


def _view(name: bytes, method: str, output: str, ctx: RuleContext) -> View:
    """The view of a map; its values, and those that are added later, must be what ``output`` asks for."""
    file = ctx.files.get(to_text(name), True, "map", ctx.where)
    view = file.view(method)
    if output in _READERS:
        read, what = _READERS[output]
        if read not in file.readers:
            for entry in file.contents:
                if read(entry.value or b"") is None:
                    raise ValueError(f"'{to_text(entry.value or b'')}' is not {what} {file.place(entry)}")
            file.readers.append(read)
    return view


def _map(method: str, output: str) -> Callable[..., Any]:
    def factory(name: bytes, *more: Any) -> Any:
        """The value that a map file has for the text, or the default."""
        default, ctx = more if len(more) == 2 else (None, *more)
        view = _view(name, method, output, ctx)
        if output == "int":
            return lambda value, txn: default if (found := view.find(value)) is None else read_int(found.value)
        if output == "ip":
            fallback = parse_addr(default) if default is not None else None
            if default is not None and fallback is None:
                raise ValueError(f"the default '{to_text(default)}' is not an address")
            return lambda value, txn: fallback if (found := view.find(value)) is None else parse_addr(found.value)
        if output == "key":
            return lambda value, txn: None if (found := view.find(value)) is None else found.text
        return lambda value, txn: default if (found := view.find(value)) is None else found.value

    return factory


_OUTPUTS: tuple[tuple[str, Type, Arg], ...] = (
    ("", Type.STR, Str(optional=True)),
    ("int", Type.SINT, Int(optional=True)),
    ("ip", Type.ADDR, Str(optional=True)),
    ("key", Type.STR, Arg()),
)
for _method in ("str", "beg", "end", "sub", "dir", "dom", "reg", "int", "ip"):
    for _output, _type, _default in _OUTPUTS:
        _names = [f"map_{_method}" + (f"_{_output}" if _output else "")]
        if _names == ["map_str"]:
            _names.append("map")
        _takes = (Str(), Context()) if _output == "key" else (Str(), _default, Context())
        converter(*_names, args=_takes, into=METHODS[_method], out=_type)(_map(_method, _output))


@converter("map_regm", args=(Str(), Str(optional=True), Context()), into=Type.STR, out=Type.STR)
def map_regm(name: bytes, default: bytes | None, ctx: RuleContext) -> Any:
    """The value of the first regular expression that matches, with its ``\\1`` … replaced by what matched."""
    view = _view(name, "reg", "", ctx)

    def convert(value: bytes, txn: Any) -> bytes | None:
        entry = view.find(value)
        if entry is None:
            return default
        found = compile_regex(to_text(entry.text)).search(value)
        return default if found is None else expand(entry.value, found)

    return convert
