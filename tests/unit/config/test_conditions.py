"""The expression language of .if and -cc, and the nesting of blocks: manual 2.4. Messages were compared with haproxy -cc."""

from __future__ import annotations

import pytest

from forkproxy.config.conditions import BlockError, Blocks, ConditionError, Context, evaluate, version_key

CONTEXT = Context({"A": "1", "EMPTY": ""})


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("", False), ("  ", False), ("0", False), ("1", True), ("-1", True), ("42", True), ("00", False), ("!1", False), ("! 0", True),
        ("!!1", True), ("defined(A)", True), ("defined(EMPTY)", True), ("defined(NO)", False), ("defined()", False),
        ("defined( A )", False), ("streq(a,a)", True), ("streq(a,b)", False), ("streq(0, 1)", False), ("strneq(a,b)", True),
        ("strneq(a,a)", False), ("strstr(abc,b)", True), ("strstr(abc,x)", False), ('streq("a,b","a,b")', True),
        ("streq(a\\),a\\))", True), ("feature(EPOLL)", True), ("feature(OPENSSL)", False), ("feature(NONSENSE)", False),
        ("version_atleast(2.4)", True), ("version_atleast(3.4.0)", True), ("version_atleast(3.4.1)", False),
        ("version_atleast(3.4-dev5)", True), ("version_before(3.5)", True), ("version_before(3.4)", False),
        ("enabled(EPOLL)", True), ("enabled(KQUEUE)", False), ("openssl_version_atleast(1.1.1)", False),
        ("openssl_version_before(3.5)", False), ("awslc_api_atleast(1)", False), ("ssllib_name_startswith(Open)", False),
        ("1 && 1", True), ("1 && 0", False), ("0 || 1", True), ("0 || 0", False), ("1 || 0 && 0", True), ("(1 || 0) && 0", False),
        ("0 && 0 || 1", True), ("!(0 || 1)", False), ("!feature(OPENSSL) && (streq(a,b) || defined(A))", True), ("((1))", True),
    ],
)  # fmt: skip
def test_truth(text: str, truth: bool) -> None:
    assert evaluate(text, CONTEXT) is truth


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo(1)", "unparsable conditional expression 'foo(1)'"),
        ("1 || foo(", "unparsable conditional expression 'foo('"),
        ("0 && foo(", "unparsable conditional expression 'foo('"),
        ("!", "unparsable conditional expression ''"),
        ("&& 1", "unparsable conditional expression '&& 1'"),
        ("1x", "unexpected character 'x' at the end of conditional expression '1x'"),
        ("1 )", "unexpected character ')' at the end of conditional expression '1 )'"),
        ("(1", "expected ')' after conditional expression '(1'"),
        ("defined(a", "expected ')' in argument 1 of predicate 'defined' used in conditional expression"),
        ("enabled(xx)", "unparsable conditional expression 'enabled(xx)'"),
        (
            "streq(a)",
            "missing arguments (got 1/2), type 'string' expected in argument 1 of predicate 'streq' used in conditional expression",
        ),
    ],
)
def test_what_cannot_be_understood(text: str, message: str) -> None:
    with pytest.raises(ConditionError) as caught:
        evaluate(text, CONTEXT)
    assert str(caught.value) == message


def test_versions_are_ordered() -> None:
    ordered = ["2.4-dev1", "2.4-dev19", "2.4", "2.4.1", "2.10", "3.4.0"]
    assert sorted(ordered[3:] + ordered[:3], key=version_key) == ordered


def run(*directives: tuple[str, bool]) -> list[bool]:
    blocks = Blocks()
    seen = []
    for name, truth in directives:
        blocks.directive(name, lambda truth=truth: truth)  # type: ignore[misc]
        seen.append(blocks.active)
    return seen


def test_one_branch_is_read() -> None:
    assert run((".if", False), (".elif", True), (".elif", True), (".else", True), (".endif", True)) == [False, True, False, False, True]
    assert run((".if", False), (".elif", False), (".else", False), (".endif", True)) == [False, False, True, True]


def test_what_is_skipped_is_not_evaluated() -> None:
    blocks = Blocks()
    blocks.directive(".if", lambda: False)
    blocks.directive(".if", pytest.fail)
    blocks.directive(".elif", pytest.fail)
    blocks.directive(".else", pytest.fail)
    assert not blocks.active and blocks.depth == 2
    blocks.directive(".endif", pytest.fail)
    blocks.directive(".else", pytest.fail)
    assert blocks.active


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([".else"], "lone '.else' with no matching '.if'."),
        ([".elif"], "lone '.elif' with no matching '.if'."),
        ([".endif"], "lone '.endif' with no matching '.if'."),
        ([".if", ".else", ".else"], "'.else' after '.else' is not permitted."),
        ([".if", ".else", ".elif"], "'.elif' after '.else' is not permitted."),
    ],
)
def test_wrong_order(names: list[str], message: str) -> None:
    with pytest.raises(BlockError) as caught:
        run(*[(name, True) for name in names])
    assert str(caught.value) == message
