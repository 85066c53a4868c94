"""The case table of ``global`` and the characters that names may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.reading import alerts, backend, frontend, good

FRONT = "frontend f\n bind 127.0.0.1:18080\n mode http\n http-request return status 200\n"


def test_table_and_file(tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.write_text("# two names on each line\n\n  etag \t ETag\nx-a X-A\n")
    made = good(f"global\n h1-case-adjust content-length Content-Length\n h1-case-adjust-file {file}\n{FRONT}")
    assert made.global_.options["h1-case-adjust"] == {b"content-length": b"Content-Length"}
    assert made.global_.options["h1-case-adjust-file"] == {b"etag": b"ETag", b"x-a": b"X-A"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", "'h1-case-adjust' expects <from> and <to> as argument."),
        ("x-a", "'h1-case-adjust' expects <from> and <to> as argument."),
        ("x-a X-B", "<from> and <to> must not differ except the case"),
        ("X-A X-A", "<from> must be in lower case"),
        ("x-a X-A x", "'h1-case-adjust' cannot handle unexpected argument 'x'."),
        ("x-a X-A\n h1-case-adjust x-a x-A", "duplicate entry 'x-a'"),
    ],
)
def test_what_the_table_refuses(words: str, expected: str) -> None:
    assert alerts(f"global\n h1-case-adjust {words}\n{FRONT}") == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x-a\n", "expect <from> and <to> at line 1."),
        ("x-a X-A\nx-a X-A\n", "duplicate entry 'x-a' at line 2."),
        ("x-a x-b\n", "<from> and <to> must not differ except the case at line 1."),
        (None, "failed to open file: No such file or directory."),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, text: str | None, expected: str) -> None:
    file = tmp_path / "names"
    if text is not None:
        file.write_text(text)
    assert alerts(f"global\n h1-case-adjust-file {file}\n{FRONT}") == [f"h1-case-adjust-file '{file}' : {expected}"]


def test_switches() -> None:
    assert "h1-case-adjust-bogus-client" in frontend("option h1-case-adjust-bogus-client").options
    assert "h1-case-adjust-bogus-server" in backend("option h1-case-adjust-bogus-server").options


def test_names_that_are_allowed() -> None:
    for word in ("preserve", "delete", "reject"):
        line = f"option http-restrict-req-hdr-names {word}"
        assert frontend(line).capabilities["restrict-names"] == backend(line).capabilities["restrict-names"] == word


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("option http-restrict-req-hdr-names",
         "missing parameter. option 'http-restrict-req-hdr-names' expects 'preserve', 'reject' or 'delete' option."),
        ("option http-restrict-req-hdr-names x",
         "invalid parameter 'x'. option 'http-restrict-req-hdr-names' expects 'preserve', 'reject' or 'delete' option."),
        ("no option http-restrict-req-hdr-names delete",
         "negation/default is not supported for option 'http-restrict-req-hdr-names'."),
    ],
)  # fmt: skip
def test_what_the_option_refuses(line: str, expected: str) -> None:
    assert alerts(f"{FRONT} {line}\n") == [expected]
