"""Mutable twins of the plan's values: what keywords write into while a file is read.

A draft holds what the file *says*, with the line that said it; what that *means* (names resolved, fall-backs applied,
rules compiled) is decided by ``build``. ``settings`` dictionaries are keyed by the field names of the plan's classes, so
that an absent key is "not said" and defaults, ``default-server`` lines and explicit values merge by dictionary order.
Knows the plan's leaf values and ``line``; nothing of keywords.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forkproxy.plan import Address, CheckStep, ErrorReply, LogTarget, Place, StatsPage

if TYPE_CHECKING:
    from forkproxy.config.line import Line


class GlobalDraft:
    """All ``global`` sections of a run, added up. ``settings`` has the field names of ``plan.Global``; ``options`` what is
    not a field of it. ``peer_fixed`` tells that ``-L`` has named this instance."""

    __slots__ = ("lines", "log_targets", "options", "peer_fixed", "settings", "stats_endpoint", "stats_sockets")

    def __init__(self, peer_fixed: bool = False) -> None:
        self.peer_fixed = peer_fixed
        self.settings: dict[str, Any] = {}
        self.options: dict[str, Any] = {}
        self.log_targets: list[LogTarget] = []
        self.stats_sockets: list[BindDraft] = []
        self.stats_endpoint: list[BindDraft] = []
        self.lines: dict[str, Line] = {}


class BindDraft:
    """One ``bind`` line: all its addresses, and its options under the field names of ``plan.Bind``."""

    __slots__ = ("addresses", "line", "settings")

    def __init__(self, line: Line, addresses: list[Address]) -> None:
        self.line = line
        self.addresses = addresses
        self.settings: dict[str, Any] = {}


class ServerDraft:
    """One server, the ``default-server`` settings in force at its line already merged.

    ``settings`` has the field names of ``plan.Server``, and those of ``plan.Check`` with the prefix ``check.``; ``check`` itself
    is True where checks are enabled. ``shown`` is what messages call it (``backend/name``).
    """

    __slots__ = ("address", "line", "name", "settings", "shown")

    def __init__(self, line: Line, name: str, shown: str, address: Address, settings: dict[str, Any]) -> None:
        self.line = line
        self.name = name
        self.shown = shown
        self.address = address
        self.settings = settings


class RuleDraft:
    """One line that ``rules`` compiles when the plan is built: its kind and the index of its first word for ``rules``."""

    __slots__ = ("kind", "line", "start")

    def __init__(self, kind: str, line: Line, start: int) -> None:
        self.kind = kind
        self.line = line
        self.start = start


class BalanceDraft:
    """A ``balance`` line: algorithm and arguments as in ``plan.Balance``; ``rule`` is its place, for the expression of ``hash``."""

    __slots__ = ("algorithm", "args", "rule")

    def __init__(self, rule: RuleDraft, algorithm: str, args: tuple[Any, ...]) -> None:
        self.rule = rule
        self.algorithm = algorithm
        self.args = args


class FilterDraft:
    """A ``filter bwlim-…`` line: ``seen`` are the words of it that have a value; ``key`` is compiled where rules use it."""

    __slots__ = ("key", "kind", "least", "limit", "line", "name", "period_ms", "seen", "table")

    def __init__(self, line: Line, kind: str, name: str) -> None:
        self.line = line
        self.kind = kind
        self.name = name
        self.seen: set[str] = set()
        self.limit = self.period_ms = self.least = 0
        self.key = self.table = ""


class Later:
    """An argument of a check rule that is compiled when the plan is built: ``kind`` "format", "sample", "port" or "action", and the
    index of its word."""

    __slots__ = ("index", "kind")

    def __init__(self, kind: str, index: int) -> None:
        self.kind = kind
        self.index = index


class CheckLine:
    """One ``http-check`` or ``tcp-check`` rule, with its line; some of its arguments may be :class:`Later`."""

    __slots__ = ("line", "step")

    def __init__(self, line: Line, step: CheckStep) -> None:
        self.line = line
        self.step = step


class ProxyDraft:
    """One ``defaults``, ``frontend``, ``backend`` or ``listen`` section.

    None (or an absent key) means "not said". ``options`` maps the name of a switch to True or, after ``no option``, False.
    ``timeouts`` has the field names of ``plan.Timeouts``; 0.0 there is an explicit "none". ``rules`` keeps acl, use_backend, and
    rule-set lines in the order of the file: inherited ones first.
    """

    __slots__ = (
        "backlog",
        "balance",
        "binds",
        "capture_cookie",
        "capture_request",
        "capture_response",
        "check_steps",
        "connection_mode",
        "default_backend",
        "default_server",
        "description",
        "disabled",
        "dispatch",
        "error_log_format",
        "errorfiles",
        "errors",
        "forwardfor",
        "fullconn",
        "hash_type",
        "http_reuse",
        "httpchk",
        "id",
        "inspect_delay_s",
        "kind",
        "line",
        "log_format",
        "log_format_kind",
        "log_format_sd",
        "log_tag",
        "log_targets",
        "maxconn",
        "mode",
        "monitor_uri",
        "name",
        "options",
        "originalto",
        "rate_limit_sessions",
        "redispatch",
        "retries",
        "retry_on",
        "rules",
        "seen",
        "servers",
        "settings",
        "source",
        "stats_page",
        "timeouts",
        "unique_id_format",
        "unique_id_header",
    )  # fmt: skip

    #: What a section never inherits.
    OWN = frozenset({"name", "kind", "line", "id", "binds", "servers", "description", "seen"})

    def __init__(self, kind: str, name: str, line: Line | None = None) -> None:
        self.kind = kind
        self.name = name
        self.line = line
        self.id: int | None = None
        self.mode = "tcp"
        self.description = ""
        self.disabled = False
        self.options: dict[str, bool] = {}
        self.timeouts: dict[str, float] = {}
        self.settings: dict[str, Any] = {}  # tuning values of this section that have no attribute of their own
        self.maxconn: int | None = None
        self.backlog: int | None = None
        self.fullconn: int | None = None
        self.connection_mode = "keep-alive"
        self.seen: set[str] = set()  # rule kinds met so far, for "placed after" warnings
        # frontend side
        self.binds: list[BindDraft] = []
        self.default_backend: RuleDraft | None = None
        self.monitor_uri = b""
        self.rate_limit_sessions = 0
        self.capture_request: list[tuple[bytes, int]] = []
        self.capture_response: list[tuple[bytes, int]] = []
        self.capture_cookie: tuple[bytes, int, bool] | None = None
        self.unique_id_format: RuleDraft | None = None
        self.unique_id_header: bytes | None = None
        self.inspect_delay_s: float | None = None
        self.log_targets: list[LogTarget | None] = []  # None: "log global"
        self.log_tag = ""
        self.log_format: RuleDraft | None = None
        self.log_format_kind = ""  # "httplog" "clf" "tcplog" "tcpclf" "custom"; "" none said
        self.error_log_format: RuleDraft | None = None
        self.log_format_sd: RuleDraft | None = None
        self.errors: dict[int, ErrorReply] = {}
        self.errorfiles: list[tuple[Line, str, tuple[int, ...]]] = []  # sections referred to, resolved at the end
        self.forwardfor: tuple[bytes, Any, bool] | None = None
        self.originalto: tuple[bytes, Any, bool] | None = None
        # backend side
        self.servers: list[ServerDraft] = []
        self.default_server: dict[str, Any] = {}
        self.dispatch: tuple[Line, Address] | None = None
        self.balance: BalanceDraft | None = None
        self.hash_type: tuple[str, str, str] | None = None
        self.retries: int | None = None
        self.redispatch: int | None = None
        self.retry_on: frozenset[str] | None = None
        self.http_reuse = ""
        self.httpchk: dict[str, Any] | None = None
        self.check_steps: list[CheckLine] = []
        self.source: dict[str, Any] = {}
        # of both
        self.stats_page: StatsPage | None = None
        self.rules: list[RuleDraft] = []

    @property
    def is_frontend(self) -> bool:
        return self.kind != "backend"

    @property
    def is_backend(self) -> bool:
        return self.kind != "frontend"

    @property
    def speaks_http(self) -> bool:
        """Are there HTTP requests for its rules: always, or after "switch-mode http"?"""
        switches = (rule for rule in self.rules if rule.kind == "tcp-request content" and "switch-mode" in rule.line.words)
        return self.mode == "http" or (self.is_frontend and next(switches, None) is not None)

    @property
    def label(self) -> str:
        """What messages call it."""
        return "proxy" if self.kind == "listen" else self.kind

    @property
    def place(self) -> Place:
        return Place() if self.line is None else Place(file=self.line.file, line=self.line.number)

    def inherit(self, defaults: ProxyDraft) -> None:
        """Copy everything that a ``defaults`` section gives; later changes of either never show in the other."""
        for name in self.__slots__:
            if name not in self.OWN:
                value = getattr(defaults, name)
                setattr(self, name, value.copy() if isinstance(value, (dict, list, set)) else value)

    def on(self, option: str) -> bool:
        """Is the boolean ``option`` in force?"""
        return self.options.get(option, False)
