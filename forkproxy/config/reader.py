"""Which files make up a configuration, and their text (management manual 3, ``-f``). The only part of config that reads the main files."""

from __future__ import annotations

import os

from forkproxy.errors import ConfigError


def expand(paths: tuple[str, ...] | list[str]) -> list[str]:
    """The files behind ``paths`` in order; of a directory those that end in ``.cfg`` and are not hidden, in C locale order.

    Raises ConfigError when a path does not exist, a directory cannot be listed, or nothing is left to be read.
    """
    files: list[str] = []
    for path in paths:
        try:
            if not os.path.isdir(path):
                os.stat(path)
                files.append(path)
                continue
            names = [n for n in os.listdir(path) if n.endswith(".cfg") and not n.startswith(".")]
        except OSError as exc:
            raise ConfigError(f"Cannot open configuration file/directory {path} : {exc.strerror}") from None
        names.sort(key=os.fsencode)
        files += [full for n in names if os.path.isfile(full := os.path.join(path, n))]
    if not files:
        raise ConfigError(f"No configuration file (*.cfg) in {', '.join(paths)}")
    return files


def read(path: str) -> str:
    """The text of one file; bytes that are not UTF-8 become surrogates. Raises ConfigError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as exc:
        raise ConfigError(f"Could not open configuration file {path} : {exc.strerror}") from None
    return data.decode("utf-8", "surrogateescape")


def lines(path: str, text: str) -> list[str]:
    """The lines of ``text`` without their line feeds.

    Raises ConfigError for a NUL byte and for a last line without a line feed: such a file was probably cut off.
    """
    parts = text.split("\n")
    last = parts.pop()
    if "\0" in text:
        number = text.count("\n", 0, text.index("\0")) + 1
        raise ConfigError("Stray NUL character in the file.", file=path, line=number)
    if last:
        raise ConfigError(
            f"Missing LF on last line, file might have been truncated at position {len(last) + 1}.",
            file=path,
            line=len(parts) + 1,
            column=len(last) + 1,
            source=last,
        )
    return parts
