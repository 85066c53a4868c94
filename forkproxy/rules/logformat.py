"""Log formats (manual 8.2.6), compiled to one function ``render(txn) -> bytes``.

Theory: a format becomes the source of one Python function, a single bytes ``%``-format whose arguments are short
expressions (``logalias``), compiled once when the file is read. A line has some forty items: a call for each and a join would cost
more than the whole line does this way (measured in ``bench/micro_rules.py``: HTTPLOG 2.6 µs). Only text made in this package
reaches the compiler: literals are passed as constants, samples as names bound to their closures.

The same engine renders header values, bodies and redirects: ``style`` says what is escaped and what an absent value becomes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from forkproxy.errors import ConfigError
from forkproxy.plan import Render
from forkproxy.registry import FORMATTERS, Needs, Type
from forkproxy.rules import logalias, logencode, loglines
from forkproxy.rules.context import RuleContext
from forkproxy.rules.expr import ExprError, Sample, cast_sample, parse_sample
from forkproxy.rules.words import Words, to_bytes
from forkproxy.values import field, frozen, record, replace

HTTPLOG = (
    "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r"
)
HTTPSLOG = (
    HTTPLOG + " %[fc_err]/%[ssl_fc_err,hex]/%[ssl_c_err]/%[ssl_c_ca_err]/%[ssl_fc_is_resumed] %[ssl_fc_sni]/%sslv/%sslc"
)
CLF = (
    '%{+Q}o %{-Q}ci - - [%trg] %r %ST %B "" "" %cp %ms %ft %b %s %TR %Tw %Tc %Tr %Ta %tsc %ac %fc %bc %sc %rc %sq %bq '
    "%CC %CS %hrl %hsl"
)
TCPLOG = "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq"
TCPCLF = (
    '%{+Q}o %{-Q}ci - - [%T] "TCP " 000 %B "" "" %cp %ms %ft %b %s %Th %Tw %Tc %Tt %U %ts-- %ac %fc %bc %sc %rc %sq %bq "" "" '
)
#: what is logged on accept when no format is configured
CONNECTLOG = "Connect from %ci:%cp to %fi:%fp (%f/{mode})"
#: the fixed form of 8.2.5; the cause of the error follows
ERRORLOG = "%ci:%cp [%t] %ft: Connection error"

#: aliases that speak of a request, and so need HTTP mode (8.2.6, column R; %tsc, which stands there too, is taken everywhere)
HTTP_ONLY = frozenset({"CC", "CS", "HM", "HP", "HPO", "HQ", "HU", "HV", "TR", "Ta", "Ti", "Tq", "Tr", "r", "tr", "trg", "trl"})

#: types whose text needs no escaping
_SAFE = (Type.BOOL, Type.SINT, Type.ADDR, Type.IPV4, Type.IPV6)
#: how texts are treated: "log" (8.6, absent values are "-", blanks merge), "http" (header values and bodies), "raw"
STYLES = ("log", "http", "raw")


@frozen
class Format:
    """A compiled format; iterating gives ``(render, needs)``. ``constant`` is its text when nothing in it varies."""

    render: Render
    needs: Needs
    constant: bytes | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter((self.render, self.needs))


@frozen
class Flags:
    """Flags of an item: Q X E bin json cbor."""

    quote: bool = False
    hexa: bool = False
    escape: bool = False
    bin: bool = False
    json: bool = False
    cbor: bool = False

    def apply(self, text: str, column: str) -> Flags:
        """These flags changed by ``+Q,-X …``. Raises ValueError."""
        names = {"Q": "quote", "X": "hexa", "E": "escape", "bin": "bin", "json": "json", "cbor": "cbor"}
        made = self
        for word in filter(None, (w.strip() for w in text.split(","))):
            if word[0] not in "+-" or word[1:] not in names:
                raise ValueError(f"unknown flag '{word}' in log-format item '{column}'")
            made = replace(made, **{names[word[1:]]: word[0] == "+"})
        return made


@frozen
class Item:
    """One variable part: ``code`` is a Python expression of bytes ("s", or "b": never quoted), an integer ("d"), a float whose fraction is
    cut ("f") or any value ("v")."""

    code: str
    kind: str
    flags: Flags
    name: str = ""
    force: str = ""
    absorbs: bool = False  # when empty, the blank after it goes, too
    form: str = ""  # the conversion of ``code`` where it is not %b or %d; takes several expressions


@record
class _Draft:
    """What the parser collects: parts are literals (bytes), None for a separator, or items."""

    parts: list[bytes | Item | None] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)
    prelude: list[str] = field(default_factory=list)
    needs: Needs = Needs.NONE
    constant: bool = True
    flags: Flags = Flags()

    def text(self, data: bytes) -> None:
        if self.parts and isinstance(self.parts[-1], bytes):
            self.parts[-1] += data
        elif data:
            self.parts.append(data)


def compile_format(source: Words | str, ctx: RuleContext, *, style: str = "http") -> Format:
    """Compile the next word of a cursor, or a text. Raises ConfigError (from a bare text: without a place)."""
    words = source if isinstance(source, Words) else None
    text = words.next("a log-format string") if words is not None else source
    assert isinstance(text, str) and style in STYLES
    try:
        draft = _parse(text, ctx, style)
    except (ExprError, ValueError) as err:
        hint = err.hint if isinstance(err, ExprError) else ""
        if words is not None:
            words.fail(str(err), hint=hint)
        raise ConfigError(str(err), hint=hint) from None
    if draft.flags.json or draft.flags.cbor:
        return Format(_encoded(draft), draft.needs)
    if not any(isinstance(p, Item) for p in draft.parts):
        whole = b"".join(b" " if p is None else p for p in draft.parts if not isinstance(p, Item))
        return Format(lambda txn: whole, draft.needs, whole)
    ready = _READY.get(text) if style == "log" and not ctx.logasap else None
    return Format(_compile(draft, _line(draft)) if ready is None else ready, draft.needs)


# -- reading -------------------------------------------------------------------------------------------------------------


def _parse(text: str, ctx: RuleContext, style: str) -> _Draft:
    draft = _Draft()
    i, n = 0, len(text)
    while i < n:
        c = text[i]
        if c == " " and style == "log":
            if not draft.parts or draft.parts[-1] is not None:
                draft.parts.append(None)
            i += 1
        elif c != "%":
            j = i
            while j < n and text[j] != "%" and not (text[j] == " " and style == "log"):
                j += 1
            draft.text(to_bytes(text[i:j]))
            i = j
        elif text[i + 1 : i + 2] == "%":
            draft.text(b"%")
            i += 2
        else:
            i = _item(text, i, ctx, style, draft)
    return draft


def _item(text: str, start: int, ctx: RuleContext, style: str, draft: _Draft) -> int:
    """Read the item that begins with the percent sign at ``start``; returns the offset after it."""
    i = start + 1
    name = force = ""
    if text[i : i + 1] == "(":
        end = text.find(")", i)
        if end < 0:
            raise ValueError(f"missing ')' after the name of a log-format item in '{text[start:]}'")
        name, colon, force = text[i + 1 : end].partition(":")
        if colon and force not in ("str", "sint", "bool"):
            raise ValueError(f"unexpected type '{force}' of a log-format item, expected str, sint or bool")
        i = end + 1
    changes = ""
    if text[i : i + 1] == "{":
        end = text.find("}", i)
        if end < 0:
            raise ValueError(f"missing '}}' in log-format item '{text[start:]}'")
        changes = text[i + 1 : end]
        i = end + 1
    if text[i : i + 1] == "[":
        sample, end = parse_sample(text, i + 1, ctx)
        if text[end : end + 1] != "]":
            what = f"unexpected '{text[end:]}' after" if end < len(text) else "missing ']' after"
            raise ValueError(f"{what} sample expression '{text[i + 1 : end]}' in log-format")
        _add_sample(draft, sample, draft.flags.apply(changes, text[i : end + 1]), style, name, force)
        return end + 1
    end = i
    while end < len(text) and text[end].isalnum():
        end += 1
    # The longest alias that fits: "%tsc--" is %tsc, "%TRx" is %TR.
    stop = end
    while stop > i and text[i:stop] not in FORMATTERS and text[i:stop] != "o":
        stop -= 1
    alias = text[i:stop]
    if not alias:
        message, hint = ctx.unknown("log-format alias", text[i:end] or text[start : start + 2], FORMATTERS)
        raise ExprError(f"no such log-format alias '{text[i:end] or text[start:]}'" if "unknown" in message else message, hint)
    flags = draft.flags.apply(changes, "%" + alias)
    if alias == "o":
        draft.flags = flags
        return stop
    if alias in HTTP_ONLY and ctx.mode != "http":
        raise ExprError(f"log-format alias '{alias}' is reserved for HTTP mode")
    made = FORMATTERS[alias].factory(logalias.Wish(flags.hexa, ctx.mode, ctx.logasap, style == "log", flags.quote))
    for line in made.prelude:
        if line not in draft.prelude:
            draft.prelude.append(line)
    draft.needs |= made.needs
    code = f"escaped({made.code})" if flags.escape and made.kind == "s" and not made.form else made.code
    draft.parts.append(Item(code, made.kind, flags, name, force, made.absorbs, made.form))
    return stop


def _add_sample(draft: _Draft, sample: Sample, flags: Flags, style: str, name: str, force: str) -> None:
    draft.needs |= sample.needs
    encoded = flags.json or flags.cbor
    safe = sample.out in _SAFE
    if not encoded and not flags.bin:
        try:
            sample = cast_sample(sample, Type.STR)
        except ExprError:
            raise ExprError(f"sample '{sample.text}' cannot be turned into text") from None
    elif flags.bin and not encoded and sample.out not in (Type.BIN, Type.STR, Type.ANY):
        sample = cast_sample(sample, Type.STR)
    if sample.constant and not encoded:
        draft.text(_finish(style, flags)(sample.fetch(None)))  # type: ignore[arg-type]  # a constant looks at nothing
        return
    symbol = f"s{len(draft.names)}"
    draft.names[symbol] = sample.fetch
    if encoded:
        draft.parts.append(Item(f"{symbol}(txn)", "v", flags, name, force))
        return
    if (safe or style == "raw") and not flags.escape and not flags.bin:
        absent = b"-" if style == "log" and not flags.quote else b""
        code = f"{absent!r} if (v := {symbol}(txn)) is None else v"
    else:
        finish = f"finish{len(draft.names)}"
        draft.names[finish] = _finish(style, flags)
        code = f"{finish}({symbol}(txn))"
    draft.parts.append(Item(code, "s", replace(flags, quote=flags.quote and style == "log"), name, force))


def _finish(style: str, flags: Flags) -> Callable[[Any], bytes]:
    """What happens to the text of a sample before it is inserted."""
    if flags.bin:
        return lambda value: value if isinstance(value, bytes) else b"" if value is None else b"%d" % value
    treat = {"log": logencode.log_text, "http": logencode.http_text, "raw": logencode.raw_text}[style]
    if flags.quote and style == "log":
        treat = logencode.quoted_text
    if flags.escape:
        return lambda value: logencode.escaped(treat(value))
    return treat


# -- making --------------------------------------------------------------------------------------------------------------


#: what has been made before, with types (see there)
_READY = {HTTPLOG: loglines.httplog, TCPLOG: loglines.tcplog}


def written_down() -> str:
    """The text of ``loglines`` as it should be: its head as it is, and what is made of the formats."""
    with open(loglines.__file__, encoding="utf-8") as file:
        text = file.read()
    made = text[: text.index("\n\n\ndef ") + 1]
    for (line, ready), mode in zip(_READY.items(), ("http", "tcp"), strict=True):
        draft = _parse(line, RuleContext(kind="log", mode=mode), "log")
        body = _body(draft, _line(draft, written=True))
        made += f"\n\ndef {ready.__name__}(txn: Txn) -> bytes:\n{body}"
    return made


def write_down() -> None:
    """``make loglines``."""
    made = written_down()
    with open(loglines.__file__, "w", encoding="utf-8") as file:
        file.write(made)


def _body(draft: _Draft, result: str) -> str:
    return "".join(f"    {line}\n" for line in draft.prelude) + f"    return {result}\n"


def _compile(draft: _Draft, result: str) -> Render:
    source = "def render(txn):\n" + _body(draft, result)
    names: dict[str, Any] = {**logalias.NAMES, **logencode.NAMES, **draft.names}
    exec(compile(source, "<log-format>", "exec"), names)  # source is made of this package's expressions only
    render: Render = names["render"]
    return render


def _line(draft: _Draft, *, written: bool = False) -> str:
    """The expression of a line; ``written``: for somebody to read and to compile, where integers have to be made of floats, which the
    interpreter does not need."""
    shape: list[bytes] = []
    codes: list[str] = []
    parts = draft.parts
    skip = False
    for i, part in enumerate(parts):
        if part is None:
            if not skip and shape:
                shape.append(b" ")
            skip = False
        elif isinstance(part, bytes):
            shape.append(part.replace(b"%", b"%%"))
            skip = False
        elif part.flags.json or part.flags.cbor:
            encode = "json_value" if part.flags.json else "cbor_hex"
            shape.append(b"%b")
            codes.append(f"{encode}({_value(part)}, {part.force!r})")
            skip = False
        else:
            code = part.code
            if part.absorbs and i + 1 < len(parts) and parts[i + 1] is None:
                code, skip = f'txt + b" " if (txt := ({code})) else b""', True
            else:
                skip = False
            if written and part.kind == "f":
                code = f"int({code})"
            form = part.form.encode() or (b"%d" if part.kind in "df" else b"%b")
            shape.append(b'"' + form + b'"' if part.flags.quote and part.kind == "s" else form)
            codes.append(code)
    if len(shape) == 1 and shape[0] == b"%b":
        return codes[0]
    inner, outer = ("\n        ", "\n    ") if written else (" ", "")
    return f"{b''.join(shape)!r} % ({inner}" + f",{inner}".join(codes) + f",{outer})"


def _value(part: Item) -> str:
    """The expression of one value, for the encoders."""
    if part.kind in "df":
        return f"int({part.code})"
    return f"{part.form.encode()!r} % ({part.code})" if part.form else part.code


def _encoded(draft: _Draft) -> Render:
    """A whole object: only named items count (manual: "+json", "+cbor" set globally)."""
    pairs = "".join(
        f"({part.name!r}, {_value(part)}, {part.force!r}), " for part in draft.parts if isinstance(part, Item) and part.name
    )
    encode = "json_object" if draft.flags.json else "cbor_object_raw" if draft.flags.bin else "cbor_object"
    return _compile(draft, f"{encode}(({pairs}))")
