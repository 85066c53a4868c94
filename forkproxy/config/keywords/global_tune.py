"""Tuning of the global section (manual 3.2, 3.3): what forkproxy honours, and the table of what it accepts without effect.

Each row of ``ACCEPTED`` says what happens instead; the text becomes the note of the keyword. What HAProxy has and stands in neither part
is refused by name (``config.known``): features that a configuration relies on and that are missing must not vanish silently.
"""

from __future__ import annotations

from forkproxy.config.args import Int, Rest, Size
from forkproxy.config.drafts import GlobalDraft
from forkproxy.config.line import Line
from forkproxy.plan import Global
from forkproxy.registry import keyword

_UNSET = Global()
#: ``tune.maxaccept -1``: more connections than ever wait at a listener
_ALL = 1 << 20


@keyword("global", "tune.bufsize", args=(Size(1024, 2**31 - 1),), default=16384)
def bufsize(draft: GlobalDraft, line: Line, size: int) -> None:
    """Bytes of a stream's buffer, rounded up to a multiple of 16: the bound for a message head plus ``tune.maxrewrite``."""
    draft.settings["bufsize_bytes"] = size


@keyword("global", "tune.maxrewrite", args=(Size(0, 2**31 - 1),), default=1024)
def maxrewrite(draft: GlobalDraft, line: Line, size: int) -> None:
    """Bytes of the buffer that are kept free for rules that add header fields; at most half of ``tune.bufsize``."""
    draft.settings["maxrewrite_bytes"] = size


@keyword("global", "tune.http.maxhdr", args=(Int(),), default=101, synopsis="<1..32767>")
def maxhdr(draft: GlobalDraft, line: Line, count: int) -> None:
    """The most lines of a message head, the first one included."""
    if not 1 <= count <= 32767:
        line.fail("'tune.http.maxhdr' expects a numeric value between 1 and 32767", 1)
    draft.settings["maxhdr"] = count


@keyword("global", "tune.stick-counters", args=(Int(0, 100),), default=3)
def stick_counters(draft: GlobalDraft, line: Line, count: int) -> None:
    """How many entries of stick tables a connection, and each of its streams, may track at once."""
    draft.options["stick-counters"] = count


@keyword("global", "tune.maxaccept", args=(Int(-1, 2**31 - 1),))
def maxaccept(draft: GlobalDraft, line: Line, count: int) -> None:
    """How many connections a worker accepts in a row from one listener; -1: without limit."""
    draft.settings["maxaccept"] = _ALL if count < 0 else count or _UNSET.maxaccept


@keyword("global", "tune.maxpollevents", args=(Int(0, 1_000_000),), default=_UNSET.maxpollevents)
def maxpollevents(draft: GlobalDraft, line: Line, count: int) -> None:
    """How many events a worker takes from the kernel in one turn of its loop; 0: as many as without this line."""
    draft.settings["maxpollevents"] = count or _UNSET.maxpollevents


@keyword("global", "tune.pipesize", args=(Size(0, 2**31 - 1),))
def pipesize(draft: GlobalDraft, line: Line, size: int) -> None:
    """Bytes of the pipes used for splicing; 0: as the system makes them."""
    draft.settings["pipesize_bytes"] = size


def _socket_buffer(name: str, field: str, doc: str) -> None:
    def handler(draft: GlobalDraft, line: Line, size: int) -> None:
        draft.settings[field] = size

    handler.__doc__ = doc
    keyword("global", name, args=(Size(0, 2**31 - 1),), default=0)(handler)


_socket_buffer("tune.rcvbuf.client", "rcvbuf_client_bytes", "The kernel's receive buffer of client connections; 0: the kernel decides.")
_socket_buffer("tune.rcvbuf.server", "rcvbuf_server_bytes", "The kernel's receive buffer of server connections; 0: the kernel decides.")
_socket_buffer("tune.sndbuf.client", "sndbuf_client_bytes", "The kernel's send buffer of client connections; 0: the kernel decides.")
_socket_buffer("tune.sndbuf.server", "sndbuf_server_bytes", "The kernel's send buffer of server connections; 0: the kernel decides.")

#: (what happens instead, names)
ACCEPTED: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "forkproxy has no threads: its workers are processes that the kernel places on the CPUs (see nbthread)",
        (
            "cpu-affinity", "cpu-map", "cpu-policy", "cpu-set", "max-threads-per-group", "numa-cpu-mapping", "stats bind-process",
            "thread-group", "thread-groups", "thread-hard-limit", "tune.listener.default-shards", "tune.listener.multi-queue",
            "tune.takeover-other-tg-connections",
        ),
    ),
    (
        "forkproxy's loop has epoll and nothing to tune",
        (
            "busy-polling", "noepoll", "noevports", "nokqueue", "nopoll", "tune.epoll.mask-events", "tune.events.max-events-at-once",
            "tune.fd.edge-triggered", "tune.runqueue-depth", "tune.sched.low-latency", "tune.max-rules-at-once",
            "tune.max-checks-per-thread", "tune.recv_enough", "tune.renice.runtime", "tune.renice.startup",
        ),
    ),
    (
        "forkproxy leaves memory to Python and pools what it measures",
        (
            "no-memory-trimming", "prealloc-fd", "quick-exit", "tune.buffers.limit", "tune.buffers.reserve", "tune.bufsize.large",
            "tune.bufsize.small", "tune.chksize", "tune.defaults.purge", "tune.fail-alloc", "tune.memory.hot-size",
            "tune.pattern.cache-size", "tune.pool-high-fd-ratio", "tune.pool-low-fd-ratio", "tune.ring.queues",
            "tune.streams-elasticity", "tune.vars.check-max-size", "tune.vars.global-max-size", "tune.vars.proc-max-size",
            "tune.vars.reqres-max-size", "tune.vars.sess-max-size", "tune.vars.txn-max-size",
        ),
    ),
    (
        "forkproxy decides by itself when to copy and when to splice",
        (
            "tune.applet.zero-copy-forwarding", "tune.h1.zero-copy-fwd-recv", "tune.h1.zero-copy-fwd-send", "tune.idletimer",
            "tune.notsent-lowat.client", "tune.notsent-lowat.server", "tune.pt.zero-copy-forwarding",
        ),
    ),
    (
        "every worker of forkproxy keeps its own idle server connections",
        ("tune.idle-pool.shared",),
    ),
    (
        "forkproxy's syslog and check sockets use the system's buffer sizes",
        ("tune.rcvbuf.backend", "tune.rcvbuf.frontend", "tune.sndbuf.backend", "tune.sndbuf.frontend"),
    ),
    (
        "forkproxy does not shorten URIs and cookies before the length of the log line (log … len) does",
        ("tune.http.cookielen", "tune.http.logurilen"),
    ),
    (
        "has no effect as long as forkproxy does not terminate TLS",
        (
            "ca-base", "crt-base", "issuers-chain-path", "key-base", "maxsslconn", "maxsslrate", "noktls", "ocsp-update.disable",
            "ocsp-update.httpproxy", "ocsp-update.maxdelay", "ocsp-update.mindelay", "ocsp-update.mode", "ssl-default-bind-ciphers",
            "ssl-default-bind-ciphersuites", "ssl-default-bind-client-sigalgs", "ssl-default-bind-curves", "ssl-default-bind-options",
            "ssl-default-bind-sigalgs", "ssl-default-server-ciphers", "ssl-default-server-ciphersuites",
            "ssl-default-server-client-sigalgs", "ssl-default-server-curves", "ssl-default-server-options",
            "ssl-default-server-sigalgs", "ssl-dh-param-file", "ssl-load-extra-del-ext", "ssl-load-extra-files", "ssl-security-level",
            "ssl-server-verify", "ssl-skip-self-issued-ca", "tune.ssl.cachesize", "tune.ssl.capture-buffer-size",
            "tune.ssl.capture-cipherlist-size", "tune.ssl.certificate-compression", "tune.ssl.default-dh-param",
            "tune.ssl.force-private-cache", "tune.ssl.hard-maxrecord", "tune.ssl.keylog", "tune.ssl.lifetime", "tune.ssl.maxrecord",
            "tune.ssl.ocsp-update.maxdelay", "tune.ssl.ocsp-update.mindelay", "tune.ssl.ssl-ctx-cache-size",
        ),
    ),
    (
        "has no effect as long as forkproxy does not speak HTTP/2",
        (
            "h2-workaround-bogus-websocket-clients", "tune.glitches.kill.cpu-usage", "tune.h1.be.glitches-threshold",
            "tune.h1.fe.glitches-threshold", "tune.h2.be.glitches-threshold", "tune.h2.be.initial-window-size",
            "tune.h2.be.max-concurrent-streams", "tune.h2.be.max-frames-at-once", "tune.h2.be.rxbuf", "tune.h2.fe.glitches-threshold",
            "tune.h2.fe.initial-window-size", "tune.h2.fe.max-concurrent-streams", "tune.h2.fe.max-frames-at-once",
            "tune.h2.fe.max-rst-at-once", "tune.h2.fe.max-total-streams", "tune.h2.fe.rxbuf", "tune.h2.header-table-size",
            "tune.h2.initial-window-size", "tune.h2.log-errors", "tune.h2.max-concurrent-streams", "tune.h2.max-frame-size",
            "tune.h2.zero-copy-fwd-send",
        ),
    ),
    (
        "forkproxy does not speak QUIC",
        (
            "cluster-secret", "harden.reject-privileged-ports.quic", "limited-quic", "no-quic", "tune.quic.be.cc.cubic-min-losses",
            "tune.quic.be.cc.hystart", "tune.quic.be.cc.max-frame-loss", "tune.quic.be.cc.max-win-size",
            "tune.quic.be.cc.reorder-ratio", "tune.quic.be.max-idle-timeout", "tune.quic.be.sec.glitches-threshold",
            "tune.quic.be.stream.data-ratio", "tune.quic.be.stream.max-concurrent", "tune.quic.be.stream.rxbuf",
            "tune.quic.be.tx.pacing", "tune.quic.be.tx.udp-gso", "tune.quic.cc-hystart", "tune.quic.cc.cubic.min-losses",
            "tune.quic.disable-tx-pacing", "tune.quic.disable-udp-gso", "tune.quic.fe.cc.cubic-min-losses",
            "tune.quic.fe.cc.hystart", "tune.quic.fe.cc.max-frame-loss", "tune.quic.fe.cc.max-win-size",
            "tune.quic.fe.cc.reorder-ratio", "tune.quic.fe.max-idle-timeout", "tune.quic.fe.sec.glitches-threshold",
            "tune.quic.fe.sec.retry-threshold", "tune.quic.fe.sock-per-conn", "tune.quic.fe.stream.data-ratio",
            "tune.quic.fe.stream.max-concurrent", "tune.quic.fe.stream.max-total", "tune.quic.fe.stream.rxbuf",
            "tune.quic.fe.tx.pacing", "tune.quic.fe.tx.udp-gso", "tune.quic.frontend.default-max-window-size",
            "tune.quic.frontend.max-data-size", "tune.quic.frontend.max-idle-timeout", "tune.quic.frontend.max-streams-bidi",
            "tune.quic.frontend.max-tx-mem", "tune.quic.frontend.stream-data-ratio", "tune.quic.listen",
            "tune.quic.max-frame-loss", "tune.quic.mem.tx-max", "tune.quic.reorder-ratio", "tune.quic.retry-threshold",
            "tune.quic.socket-owner", "tune.quic.zero-copy-fwd-send",
        ),
    ),
    (
        "forkproxy does not run Lua",
        (
            "tune.lua.bool-sample-conversion", "tune.lua.burst-timeout", "tune.lua.forced-yield", "tune.lua.log.loggers",
            "tune.lua.log.stderr", "tune.lua.maxmem", "tune.lua.openlibs", "tune.lua.service-timeout", "tune.lua.session-timeout",
            "tune.lua.task-timeout",
        ),
    ),
    (
        "has no effect as long as forkproxy does not compress",
        ("maxcompcpuusage", "maxcomprate", "maxzlibmem", "tune.comp.maxlevel", "tune.zlib.memlevel", "tune.zlib.windowsize"),
    ),
    (
        "has no effect as long as forkproxy has no peers",
        ("tune.peers.max-updates-at-once",),
    ),
    (
        "forkproxy makes no HTTP requests of its own",
        (
            "httpclient.resolvers.disabled", "httpclient.resolvers.id", "httpclient.resolvers.prefer", "httpclient.retries",
            "httpclient.ssl.ca-file", "httpclient.ssl.verify", "httpclient.timeout.connect",
        ),
    ),
    (
        "forkproxy's counters survive a reload by themselves, for all proxies and servers that keep their names",
        ("shm-stats-file", "shm-stats-file-max-objects"),
    ),
    (
        "is for developers of HAProxy; forkproxy has -d, and any Python tool, in its place",
        ("debug", "debug.counters", "set-dumpable", "stress-level", "force-cfg-parser-pause"),
    ),
    (
        "a worker of forkproxy that hangs is noticed and replaced by the master",
        ("warn-blocked-traffic-after",),
    ),
    (
        "forkproxy needs no permission to fork",
        ("insecure-fork-wanted",),
    ),
    (
        "names are resolved by the system's resolver",
        ("dns-accept-family", "nogetaddrinfo"),
    ),
    (
        "forkproxy has no directives that must be unlocked first",
        ("expose-deprecated-directives", "expose-experimental-directives"),
    ),
    (
        "there is no limit to lift: setuid programs may be run by external tools only",
        ("insecure-setuid-wanted",),
    ),
)  # fmt: skip


def _accepted(draft: GlobalDraft, line: Line, _start: int) -> None:
    """Accepted for configurations that have it; its note says what forkproxy does instead."""


for _note, _names in ACCEPTED:
    for _name in _names:
        keyword("global", _name, args=(Rest(),), note=_note)(_accepted)


@keyword("global", "tune.disable-fast-forward")
@keyword("global", "tune.disable-zero-copy-forwarding")
def disable_zero_copy(draft: GlobalDraft, line: Line) -> None:
    """Never splice: bytes are copied through the buffers, as with ``nosplice``."""
    draft.settings["nosplice"] = True
