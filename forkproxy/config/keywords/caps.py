"""Which side of a proxy a keyword belongs to, and the complaints when it stands on the wrong one. Shared by the proxy keywords."""

from __future__ import annotations

from forkproxy.config.drafts import ProxyDraft
from forkproxy.config.line import Line

#: Where proxy keywords are registered: also where they have no effect, so that HAProxy's own warning is given there.
PROXIES = ("defaults", "frontend", "listen", "backend")
REAL_PROXIES = ("frontend", "listen", "backend")


def frontend_side(draft: ProxyDraft, line: Line, shown: str = "", hint: str = "") -> bool:
    """True in sections with a frontend; else warns that ``shown`` is ignored."""
    if draft.is_frontend:
        return True
    line.warn(f"'{shown or line.words[0]}' ignored because backend '{draft.name}' has no frontend capability.{hint}")
    return False


def backend_side(draft: ProxyDraft, line: Line, shown: str = "", hint: str = "") -> bool:
    """True in sections with a backend; else warns that ``shown`` is ignored."""
    if draft.is_backend:
        return True
    line.warn(f"'{shown or line.words[0]}' ignored because frontend '{draft.name}' has no backend capability.{hint}")
    return False


def not_in_defaults(draft: ProxyDraft, line: Line) -> None:
    """Refuse a keyword that makes no sense in ``defaults``."""
    if draft.kind == "defaults":
        line.fail(f"'{line.words[0]}' not allowed in 'defaults' section.")


def named_defaults_only(draft: ProxyDraft, line: Line) -> None:
    """Refuse rules in a ``defaults`` section without a name, as the manual has it (4, on rules in defaults)."""
    if draft.kind == "defaults" and not draft.name:
        line.fail(f"'{line.words[0]}' not allowed in anonymous 'defaults' section.")


def end_of_line(line: Line, index: int) -> None:
    """Refuse words from ``index`` on."""
    if index < len(line.words):
        line.fail(f"'{line.keyword}' cannot handle unexpected argument '{line.words[index]}'.", index)
