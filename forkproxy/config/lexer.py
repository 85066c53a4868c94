"""Text of one line to words with columns (manual 2.1-2.3): comments, quotes, escapes, environment variables.

One pass over the characters with three states (bare, weak quotes, strong quotes); lines without any special character, which
is most of them, take a regular expression instead. Pure: the environment is passed in. Bytes that are not UTF-8 travel as
surrogates (``surrogateescape``), so that what comes out encodes to what stood in the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_SIMPLE_WORD = re.compile(r"[^ \t\r\n]+")
_SPECIAL = re.compile(r"[\"'\\#]")
_NAME = re.compile(r"\.?[A-Za-z0-9_]*")
_HEX = re.compile(r"[0-9A-Fa-f]{2}")
_BLANKS = " \t\r\n\v\f"
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", " ": " ", "\t": "\t", "\\": "\\", "'": "'", '"': '"', "#": "#", "$": "$"}


#: The most characters that the variables of one line may add: far more than anybody needs, and less than memory.
MAX_EXPANDED = 1 << 20


class LexError(ValueError):
    """A line that cannot be cut into words; ``column`` (1-based) is where."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.column = column


class Lexed:
    """``words`` and their 1-based ``columns``."""

    __slots__ = ("columns", "words")

    def __init__(self, words: list[str], columns: list[int]) -> None:
        self.words = words
        self.columns = columns


def split(source: str, env: Mapping[str, str], pseudo: Callable[[str], str | None] | None = None) -> Lexed:
    """Cut ``source`` into words. ``pseudo(name)`` answers for variables that start with a dot (".FILE"). Raises LexError."""
    if _SPECIAL.search(source) is None:
        words, columns = [], []
        for match in _SIMPLE_WORD.finditer(source):
            words.append(match.group())
            columns.append(match.start() + 1)
        return Lexed(words, columns)
    return _Splitter(source, env, pseudo).run()


class _Splitter:
    """The pass over one line: ``out`` is the word being built (None between words)."""

    __slots__ = ("columns", "env", "expanded", "expanded_empty", "out", "pseudo", "source", "start", "words")

    def __init__(self, source: str, env: Mapping[str, str], pseudo: Callable[[str], str | None] | None) -> None:
        self.source = source
        self.env = env
        self.pseudo = pseudo
        self.words: list[str] = []
        self.columns: list[int] = []
        self.out: list[str] | None = None
        self.start = 0
        self.expanded = 0  # characters that came from variables
        self.expanded_empty = False  # the word so far is only a list variable that held nothing

    def run(self) -> Lexed:
        source = self.source
        i, n = 0, len(source)
        quote = ""
        quoted_at = 0
        while i < n:
            c = source[i]
            if not quote and c in _BLANKS:
                self._end_word()
                i += 1
                continue
            if not quote and c == "#":
                break
            if self.out is None:
                self.out = []
                self.start = i + 1
            if c == "'" and quote != '"':
                self.expanded_empty = False
                quote, quoted_at = ("", 0) if quote else ("'", i)
                i += 1
            elif c == '"' and quote != "'":
                quote, quoted_at = ("", 0) if quote else ('"', i)
                i += 1
            elif c == "\\" and quote != "'":
                i = self._escape(i)
            elif c == "$" and quote == '"':
                i = self._variable(i)
            else:
                self.out.append(c)
                i += 1
        if quote:
            raise LexError("unmatched quote", quoted_at + 1)
        self._end_word()
        return Lexed(self.words, self.columns)

    def _end_word(self) -> None:
        if self.out is not None:
            if self.out or not self.expanded_empty:
                self.words.append("".join(self.out))
                self.columns.append(self.start)
            self.out = None
        self.expanded_empty = False

    def _escape(self, i: int) -> int:
        assert self.out is not None
        after = self.source[i + 1 : i + 2]
        if after == "x":
            digits = _HEX.match(self.source, i + 2)
            if digits is None or digits.group() == "00":
                raise LexError("truncated or invalid hexadecimal sequence", i + 1)
            self.out.append(bytes.fromhex(digits.group()).decode("utf-8", "surrogateescape"))
            return i + 4
        literal = _ESCAPES.get(after)
        if literal is None:  # an unknown escape stands for itself, backslash included
            self.out.append("\\" + after)
        else:
            self.out.append(literal)
        return i + 2

    def _variable(self, dollar: int) -> int:
        source = self.source
        i = dollar + 1
        brace = source[i : i + 1] == "{"
        if brace:
            i += 1
        first = source[i : i + 1]
        if not (first == "_" or first == "." or (first.isascii() and first.isalpha())):
            raise LexError("forbidden first char in environment variable name", i + 1)
        match = _NAME.match(source, i)
        assert match is not None
        name = match.group()
        if name.startswith("."):
            value = self.pseudo(name) if self.pseudo is not None else None
            if value is None:
                raise LexError("forbidden first char in environment variable name", i + 1)
        else:
            value = self.env.get(name)
        i = match.end()
        as_list = False
        if brace:
            if source.startswith("[*]", i):
                as_list = True
                i += 3
            if source[i : i + 1] == "-":
                end = source.find("}", i)
                if end < 0:
                    raise LexError("unmatched brace in environment variable name", dollar + 2)
                if value is None:
                    value = source[i + 1 : end]
                i = end
            if source[i : i + 1] != "}":
                raise LexError("unmatched brace in environment variable name", dollar + 2)
            i += 1
        self.expanded += len(value or "")
        if self.expanded > MAX_EXPANDED:
            raise LexError(f"variables expand to more than {MAX_EXPANDED} characters", dollar + 1)
        self._append(value or "", as_list)
        return i

    def _append(self, value: str, as_list: bool) -> None:
        assert self.out is not None
        if not as_list:
            self.out.append(value) if value else None
            return
        parts = value.split()
        if not parts:
            self.expanded_empty = not self.out
            return
        if value[0].isspace() and self.out:
            self._break()
        for k, part in enumerate(parts):
            if k:
                self._break()
            self.out.append(part)

    def _break(self) -> None:
        """End the word here and begin another one, still inside the quotes."""
        assert self.out is not None
        self.words.append("".join(self.out))
        self.columns.append(self.start)
        self.out.clear()
