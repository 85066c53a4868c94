"""The part of the plan that is about the health of servers: how they are checked, and what was known of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from forkproxy.values import field, frozen

if TYPE_CHECKING:
    from forkproxy.plan import Address


@frozen
class CheckStep:
    """One rule of an ``http-check`` or ``tcp-check`` sequence: ``kind`` is connect/send/expect/comment…; ``args`` its options."""

    kind: str
    args: Mapping[str, Any] = field(default_factory=dict)
    comment: str = ""


@frozen
class Check:
    """How a server's health is checked (manual 5.2 check, inter, rise …; 4.2 option httpchk, http-check).

    ``kind`` is a name of ``registry.CHECKS`` ("tcp", "http", …). ``address``/``port`` override the server's.
    """

    kind: str = "tcp"
    address: Address | None = None
    port: int = 0
    inter_s: float = 2.0
    fastinter_s: float | None = None
    downinter_s: float | None = None
    rise: int = 2
    fall: int = 3
    timeout_s: float | None = None  # timeout check; None: inter, after connect
    connect_timeout_s: float | None = None
    send_proxy: bool = False
    steps: tuple[CheckStep, ...] = ()
    disable_on_404: bool = False
    send_state: bool = False
    log_checks: bool = False
    bufsize_bytes: int = 16384  # what is kept of an answer
    options: Mapping[str, Any] = field(default_factory=dict)


@frozen
class SavedState:
    """What a state file tells of a server (management manual 9.3 "show servers state"); numbers as there."""

    op: int
    admin: int
    uweight: int
    iweight: int
    age_s: int  # time since the last change
    check_status: int
    checking: bool = True  # False: its checks were disabled
    address: str = ""
    port: int = 0
