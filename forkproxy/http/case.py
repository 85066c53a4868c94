"""The case of field names for peers that rely on it, wrongly (manual 3.1 "h1-case-adjust"). Knows heads as bytes, nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping


def adjuster(names: Mapping[bytes, bytes]) -> Callable[[bytes], bytes]:
    """``adjust(lines) -> lines`` that writes the field names which ``names`` has (in lower case) as ``names`` wants them.

    ``lines`` is any part of a head that begins with a line; start lines stay as they are, for no name stands there.
    """
    listed = b"|".join(re.escape(name) for name in sorted(names))
    pattern = re.compile(rb"(?im)^(?:%b)(?=:)" % listed)

    def exact(match: re.Match[bytes]) -> bytes:
        return names[match[0].lower()]

    return lambda lines: pattern.sub(exact, lines)
