"""The plan: what a configuration means, as frozen, slotted values. The contract between ``config`` and the running proxy.

``config`` builds one :class:`Plan` per file set; master and workers only read it. Every name is resolved, every unit
converted (``_s`` seconds as float, ``_bytes`` integers), every rule a closure. Nothing here opens, reads or computes
anything. A timeout of None means "none".

Rule sets are tuples of steps (``rules.verdict``), or None where no rule exists, so that a stream pays only for what its
configuration uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from forkproxy.plan.checks import Check as Check
from forkproxy.plan.checks import CheckStep as CheckStep
from forkproxy.plan.checks import SavedState as SavedState
from forkproxy.values import field, frozen

if TYPE_CHECKING:
    from forkproxy.state.stickspec import TableRef

#: ``step(txn) -> Verdict | None``; None: look at the next rule.
Step = Callable[[Any], Any]
Steps = tuple[Step, ...] | None
#: ``render(txn) -> bytes``
Render = Callable[[Any], bytes]


@frozen
class Place:
    """Where something was written, for messages at run time."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@frozen
class Address:
    """One socket address, resolved (manual 2.9).

    ``family`` is "ipv4", "ipv6", "unix", "abns" or "fd"; ``host`` the textual address, path, abstract name or descriptor
    number; ``port`` 0 where there is none. ``kind`` is "stream" or "dgram". For servers ``port`` 0 with
    ``port_relative`` False means "the port the client connected to", with True ``port`` is an offset to it.
    """

    family: str
    host: str
    port: int = 0
    kind: str = "stream"
    port_relative: bool = False

    def __str__(self) -> str:
        if self.family == "ipv6":
            return f"[{self.host}]:{self.port}"
        if self.family == "ipv4":
            return f"{self.host}:{self.port}"
        return f"{self.family}@{self.host}"


@frozen
class Bind:
    """One listening address of a frontend or of the runtime CLI (one per port of a range)."""

    address: Address
    name: str = ""
    id: int = 0
    place: Place = Place()
    backlog: int = 0  # 0: from the frontend's maxconn
    maxconn: int = 0
    interface: str = ""
    v4v6: bool = False
    v6only: bool = False
    transparent: bool = False
    defer_accept: bool = False
    tfo: bool = False
    save_syn: int = 0  # what the kernel keeps of the first packet: 1 from the IP header on, 2 from the link's
    mss: int = 0
    tcp_ut_ms: int = 0
    mode: int | None = None  # unix socket permissions
    uid: int | None = None
    gid: int | None = None
    level: str = "operator"  # of a CLI socket
    expose_fd_listeners: bool = False
    accept_proxy: bool = False
    namespace: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)  # what later issues add (ssl …)

    @property
    def label(self) -> str:
        """What statistics call it: its name, or its address."""
        return self.name or str(self.address)

    @property
    def key(self) -> str:
        """What makes two bind lines the same socket: the address and the options that can only be given before binding."""
        parts = [self.address.kind, str(self.address)]
        if self.interface:
            parts.append(f"interface={self.interface}")
        if self.namespace:
            parts.append(f"namespace={self.namespace}")
        if self.transparent:
            parts.append("transparent")
        if self.address.family == "ipv6" and (self.v6only or self.v4v6):
            parts.append("v6only" if self.v6only else "v4v6")
        return " ".join(parts)


@frozen
class Timeouts:
    """The timeouts of a proxy in seconds; the manual's fall-backs are already applied (http-request ← client …)."""

    client_s: float | None = None
    server_s: float | None = None
    connect_s: float | None = None
    queue_s: float | None = None
    http_request_s: float | None = None
    http_keep_alive_s: float | None = None
    tunnel_s: float | None = None
    client_fin_s: float | None = None
    server_fin_s: float | None = None
    tarpit_s: float | None = None


@frozen
class RingServer:
    """One ``server`` of a ring: lines framed by their line feed, or by their length."""

    name: str
    address: Address
    octet_count: bool = False


@frozen
class Ring:
    """A buffer of log lines with servers that get them over connections (manual 12.5). ``name`` "": made for one ``log`` line alone."""

    name: str = ""
    description: str = ""
    format: str = "raw"
    maxlen: int = 65535
    size_bytes: int = 0
    connect_s: float | None = None
    server_s: float | None = None
    servers: tuple[RingServer, ...] = ()
    place: Place = Place()  # in a draft's LogTarget: of the line that names the ring


@frozen
class LogTarget:
    """One ``log`` line (manual 4.2 "log", 3.1 "log"): where, how, and from which level on."""

    address: Address | None  # None for stdout / stderr / ring
    stream: str = ""  # "stdout" or "stderr"
    ring: Ring | None = None
    format: str = "rfc3164"  # raw short timed iso priority local rfc3164 rfc5424
    length: int = 1024
    facility: int = 16  # numeric (local0)
    level: int = 7  # maximum level sent
    minlevel: int = 0
    sample_ranges: tuple[tuple[int, int], ...] = ()
    sample_size: int = 0
    tag: str = ""  # log-tag of its profile, else of the proxy that inherits it
    profile: str = ""  # name of a log profile


@frozen
class ErrorReply:
    """What a status code answers: whole raw message (errorfile) or parts (http-error / errorfiles)."""

    status: int
    raw: bytes | None = None  # a complete HTTP message as on disk
    location: str = ""  # errorloc: the redirect's target
    location_code: int = 0  # 302 or 303
    reply: Any = None  # rules.verdict.Reply for http-error


@frozen
class Foreign:
    """``usesrc``: the address that a server sees in the place of ours. ``kind`` is "client" (address and port), "clientip", "address" or
    "header" (``header`` in lower case, ``occurrence`` from 1 on or backwards from -1)."""

    kind: str
    address: Address | None = None
    header: bytes = b""
    occurrence: int = -1


@frozen
class Server:
    """One server of a backend, defaults merged."""

    name: str
    address: Address
    backend: str
    id: int
    place: Place = Place()
    weight: int = 1
    backup: bool = False
    disabled: bool = False
    maxconn: int = 0
    minconn: int = 0
    maxqueue: int = 0
    cookie: bytes = b""
    check: Check | None = None
    agent: Check | None = None
    track: str = ""  # "backend/server"
    slowstart_s: float = 0.0
    source: Address | None = None
    source_interface: str = ""
    foreign: Foreign | None = None
    namespace: str = ""
    redir: bytes = b""
    on_marked_down: str = ""
    on_marked_up: str = ""
    on_error: str = "fail-check"
    observe: str = ""
    error_limit: int = 10
    send_proxy: int = 0  # 0 none, 1, 2
    proxy_options: tuple[str, ...] = ()  # crc32c, unique-id
    tfo: bool = False
    tcp_ut_ms: int = 0
    pool_max_conn: int = -1  # -1 unlimited
    pool_purge_delay_s: float = 5.0
    pool_low_conn: int = 0
    strict_maxconn: bool = False
    max_reuse: int = -1
    init_state: str = "up"
    non_stick: bool = False
    hash_key: str = "id"
    saved: SavedState | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """``backend/server``: the name of its row in the shared state."""
        return f"{self.backend}/{self.name}"


@frozen
class Cookie:
    """``cookie`` of a backend (manual 4.2). ``mode`` "" only reads it. ``maxidle_s`` and ``maxlife_s``: 0 for none.

    ``tail`` is what follows the path in a cookie that the proxy makes: domains, HttpOnly, Secure, other attributes.
    """

    name: bytes
    mode: str = ""  # insert, rewrite, prefix
    indirect: bool = False
    nocache: bool = False
    postonly: bool = False
    preserve: bool = False
    dynamic: bool = False
    key: bytes = b""  # the secret of dynamic values
    maxidle_s: int = 0
    maxlife_s: int = 0
    tail: bytes = b""


@frozen
class Balance:
    """``balance`` and ``hash-type`` of a backend (manual 4.2).

    ``key(txn) -> bytes | int | None`` gives the key of a hashing algorithm (None: fall back to round robin as the manual says),
    made by ``rules`` or by the algorithm itself from ``args``.
    """

    algorithm: str = "roundrobin"
    args: tuple[Any, ...] = ()
    key: Callable[[Any], Any] | None = None
    hash_method: str = "map-based"
    hash_function: str = "sdbm"
    hash_modifier: str = ""  # "avalanche"
    hash_balance_factor: int = 0
    hash_preserve_affinity: str = "always"  # or "maxconn", "maxqueue"


@frozen
class StatsPage:
    """The statistics page of a proxy (manual 4.2 "stats enable" and its kin).

    ``node`` and ``desc`` are shown unless None, "" stands for the global section's. ``scope`` are names of proxies (none: all).
    ``accounts`` are (user, password); ``rules`` what "stats http-request" or the accounts come to, ``admin`` conditions under which
    forms are accepted.
    """

    uri: bytes = b"/haproxy?stats"
    realm: str = ""
    accounts: tuple[tuple[str, str], ...] = ()
    scope: tuple[str, ...] = ()
    refresh_s: int = 0
    show_version: bool = False
    show_legends: bool = False
    show_modules: bool = False
    node: str | None = None
    desc: str | None = None
    rules: tuple[Step, ...] = ()
    admin: tuple[Callable[[Any], bool], ...] = ()


@frozen
class Proxy:
    """What frontends and backends have in common. A ``listen`` section becomes one of each with the same name."""

    name: str
    id: int
    place: Place = Place()
    mode: str = "tcp"  # "tcp" or "http"
    description: str = ""
    disabled: bool = False
    timeouts: Timeouts = Timeouts()
    options: frozenset[str] = frozenset()  # names of the boolean options in force: "forwardfor", "httplog", "contstats" …
    #: keep-alive | http-server-close | httpclose | tunnel
    connection_mode: str = "keep-alive"
    log_targets: tuple[LogTarget, ...] = ()
    errors: Mapping[int, ErrorReply] = field(default_factory=dict)
    #: forwardfor: (header name, except-networks predicate or None, if-none); None when off
    forwardfor: tuple[bytes, Any, bool] | None = None
    originalto: tuple[bytes, Any, bool] | None = None
    tcp_request_content: Steps = None
    tcp_response_content: Steps = None
    http_request: Steps = None
    http_response: Steps = None
    http_after_response: Steps = None
    #: answers requests for the statistics page, once ``http_request`` has spoken, and what comes behind it
    statistics: Steps = None
    inspect_delay_s: float | None = None
    needs: int = 0  # OR of registry.Needs over all rules of this proxy
    maxconn: int = 0  # frontend: limit; backend: unused
    backlog: int = 0
    fullconn: int = 0
    capabilities: Mapping[str, Any] = field(default_factory=dict)  # what later issues add (cookie, stick, cache …)


@frozen
class Stick:
    """A ``stick`` rule (manual 4.2). ``key(txn)`` gives the key as entries of ``table`` hold it, None where there is none."""

    table: TableRef
    key: Callable[[Any], bytes | None]
    condition: Callable[[Any], bool] | None = None
    match: bool = False  # send the client to the server that its entry names
    store: bool = False  # keep the server that it was sent to
    response: bool = False  # the key is the response's


@frozen
class Backend(Proxy):
    """Where streams go."""

    servers: tuple[Server, ...] = ()
    unpublished: bool = False  # by the operator at run time, never by a file
    added: bool = False  # the same
    check: Check = Check()  # what the checks of its servers have in common
    balance: Balance = Balance()
    retries: int = 3
    redispatch: int = 0  # 0 off, N>0 every Nth retry, -N last Nth; "option redispatch" alone is -1
    retry_on: frozenset[str] = frozenset({"conn-failure"})
    http_reuse: str = "safe"
    allbackups: bool = False
    cookie: Cookie | None = None
    #: renders what a Forwarded field tells a server (option forwarded)
    forwarded: Render | None = None
    #: the field in which requests tell a server its name (lower case); b"" none
    name_header: bytes = b""
    #: name of the RDP cookie that tells the server's address; b"" none
    rdp_cookie: bytes = b""
    #: force-persist (True) and ignore-persist (False), in the order of the file
    persist_rules: tuple[tuple[Callable[[Any], bool], bool], ...] = ()
    use_server: tuple[tuple[Callable[[Any], bool] | None, Callable[[Any], str]], ...] = ()
    stick: tuple[Stick, ...] = ()


@frozen
class Frontend(Proxy):
    """Where clients arrive."""

    binds: tuple[Bind, ...] = ()
    #: name of the backend that serves when no rule chooses; "" none
    default_backend: str = ""
    #: ``choose(txn) -> backend name | None``: all use_backend rules folded into one function; None when there are none
    use_backend: Callable[[Any], str | None] | None = None
    #: ``but_for(names)`` is what ``use_backend`` is while rules that lead to these backends are passed over
    but_for: Callable[[frozenset[str]], Callable[[Any], str | None] | None] | None = None
    #: … and under which conditions none is (force-be-switch)
    force_switch: tuple[Callable[[Any], bool], ...] = ()
    tcp_request_connection: Steps = None
    tcp_request_session: Steps = None
    #: renders a log line without header and newline; None: no logging
    log_format: Render | None = None
    error_log_format: Render | None = None
    log_format_sd: Render | None = None  # structured data of RFC 5424
    #: ``log_format`` is the line of a stream's beginning (no format was configured): written then, and nothing at its end
    log_on_connect: bool = False
    log_needs: int = 0
    unique_id: Render | None = None
    unique_id_header: bytes = b""
    monitor_uri: bytes = b""
    monitor_fail: tuple[Callable[[Any], bool], ...] = ()
    rate_limit_sessions: int = 0
    held: str = ""  # by the operator at run time: "PAUSED" (accepts nothing) or "STOP" (gone for good); never by a file
    #: declared captures: (request slots, response slots) of (name in lower case, length), cookie capture (name, length, prefix?) or None
    capture_request: tuple[tuple[bytes, int], ...] = ()
    capture_response: tuple[tuple[bytes, int], ...] = ()
    capture_cookie: tuple[bytes, int, bool] | None = None


@frozen
class Global:
    """The ``global`` section and what the command line changed in it."""

    nbproc: int = 1  # number of workers, resolved
    maxconn: int = 0  # resolved for one run: total over all workers
    limit: int = 0  # the operator's, below maxconn; 0: none. Never by a file
    maxconnrate: int = 0
    maxsessrate: int = 0
    cli_payload_bytes: int = 128 * 1024
    ulimit_n: int = 0
    metered: bool = False  # somebody can ask for metrics: distributions of times are kept
    profiling: frozenset[str] = frozenset()  # what workers measure of themselves: "tasks", "memory"
    daemon: bool = False
    master_worker: bool = False  # the keyword: as -W
    pidfile: str = ""
    chroot: str = ""
    uid: int | None = None
    gid: int | None = None
    log_targets: tuple[LogTarget, ...] = ()
    log_tag: str = "haproxy"
    log_send_hostname: str = ""
    hard_stop_after_s: float | None = None
    close_spread_s: float | None = None
    grace_s: float = 0.0
    bufsize_bytes: int = 16384
    maxrewrite_bytes: int = 1024
    maxhdr: int = 101
    maxaccept: int = 64
    maxpollevents: int = 200
    pipesize_bytes: int = 0
    maxpipes: int = 0
    rcvbuf_client_bytes: int = 0
    rcvbuf_server_bytes: int = 0
    sndbuf_client_bytes: int = 0
    sndbuf_server_bytes: int = 0
    spread_checks_percent: int = 0
    max_spread_checks_s: float | None = None
    stats_sockets: tuple[Bind, ...] = ()
    stats_timeout_s: float = 10.0
    stats_maxconn: int = 10
    stats_endpoint: tuple[Bind, ...] = ()  # the master's own Prometheus endpoint
    node: str = ""
    description: str = ""
    nosplice: bool = False
    quiet: bool = False
    zero_warning: bool = False
    master_sockets: tuple[Bind, ...] = ()  # -S
    max_reloads: int = 50
    options: Mapping[str, Any] = field(default_factory=dict)


@frozen
class Plan:
    """Everything that a running service needs to know about its configuration."""

    global_: Global
    frontends: tuple[Frontend, ...] = ()
    backends: Mapping[str, Backend] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    #: named error sets, maps, userlists, rings … by "kind/name", for later issues
    objects: Mapping[str, Any] = field(default_factory=dict)
    #: stick tables by name; whoever takes the plan on gives them their memory before it forks
    tables: Mapping[str, TableRef] = field(default_factory=dict)

    @property
    def listens(self) -> bool:
        """Is there anything to listen on: an enabled frontend's address, a CLI socket or the metrics endpoint?"""
        if self.global_.stats_sockets or self.global_.stats_endpoint:
            return True
        return any(f.binds and not f.disabled for f in self.frontends)
