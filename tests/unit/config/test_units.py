"""Times and sizes with their limits: manual 2.5 and 2.6."""

from __future__ import annotations

import pytest

from forkproxy.config.units import UnitError, parse_size, parse_time


@pytest.mark.parametrize(
    ("text", "unit", "seconds"),
    [
        ("0", "ms", 0.0), ("1", "ms", 0.001), ("1500", "ms", 1.5), ("5", "s", 5.0), ("3s", "ms", 3.0), ("2m", "ms", 120.0),
        ("1h", "ms", 3600.0), ("24d", "ms", 24 * 86400.0), ("7ms", "s", 0.007), ("2000us", "ms", 0.002), ("1us", "ms", 0.001),
        ("2147483647", "ms", 2147483.647),
    ],
)  # fmt: skip
def test_times(text: str, unit: str, seconds: float) -> None:
    assert parse_time(text, unit) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("3x", "unexpected character 'x' in 'timeout client'"),
        ("abc", "unexpected character 'a' in 'timeout client'"),
        ("-1", "unexpected character '-' in 'timeout client'"),
        ("1.5s", "unexpected character '.' in 'timeout client'"),
        ("3sx", "unexpected character 'x' in 'timeout client'"),
        ("2147483648", "timer overflow in argument '2147483648' to 'timeout client' (maximum value is 2147483647 ms or ~24.8 days)"),
        ("30d", "timer overflow in argument '30d' to 'timeout client' (maximum value is 2147483647 ms or ~24.8 days)"),
        ("99999999999999999999", "timer overflow in argument '99999999999999999999' to 'timeout client' "
                                 "(maximum value is 2147483647 ms or ~24.8 days)"),
    ],
)  # fmt: skip
def test_wrong_times_in_haproxys_words(text: str, complaint: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_time(text)
    assert caught.value.about("timeout client") == complaint


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("512", 512), ("1k", 1024), ("2K", 2048), ("3m", 3 << 20), ("1g", 1 << 30), ("3G", 3 << 30)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "1x", "1kb", "-1", "1.5k", "4g", "99999999999"])
def test_wrong_sizes(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


def test_a_size_may_be_limited() -> None:
    assert parse_size("1k", maximum=1024) == 1024
    with pytest.raises(UnitError, match="size overflow"):
        parse_size("1025", maximum=1024)
