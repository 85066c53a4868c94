"""The ``global`` section (manual 3): process management, environment, limits, logs.

Tuning stands in ``global_tune``, the ``stats`` family in ``global_stats``.

Handlers write into ``GlobalDraft.settings`` under the field names of ``plan.Global``; :func:`finish` settles what depends on the
whole file and on the command line.
"""

from __future__ import annotations

import grp
import math
import os
import pwd
import re
import socket
from collections.abc import Iterable
from typing import Any

from forkproxy.config import log_target
from forkproxy.config.args import Int, OneOf, Opt, Rest, Time, Word
from forkproxy.config.diagnostics import Diagnostics
from forkproxy.config.drafts import BindDraft, GlobalDraft, ProxyDraft
from forkproxy.config.line import Line
from forkproxy.config.options import Options
from forkproxy.errors import ConfigError
from forkproxy.plan import Bind
from forkproxy.registry import keyword
from forkproxy.values import replace

_NODE = re.compile(r"[A-Za-z0-9._-]+")
#: The upper bound of file descriptors that HAProxy assumes when nothing says otherwise (manual 3.1 "fd-hard-limit").
DEFAULT_MAX_FDS = 1_048_576
#: Descriptors of a worker that serve no connection: loop, wake-ups, channels, logs, the segment, spare ones for reloads.
OWN_FDS = 64
#: Under ``-m``: address space that a process has before its first connection, and what a connection takes beside its two buffers.
OWN_MEMORY = 80 << 20
CONNECTION_MEMORY = 16 << 10


def _once(draft: GlobalDraft, line: Line, name: str, value: object) -> None:
    """Set a value that may be said once; HAProxy reports the second and keeps the first."""
    if name in draft.lines:
        line.complain(f"'{line.keyword}' already specified. Continuing.")
        return
    draft.lines[name] = line
    draft.settings[name] = value


# -- processes ---------------------------------------------------------------------------------------------------------------


@keyword("global", "daemon")
def daemon(draft: GlobalDraft, line: Line) -> None:
    """Go to the background after start-up; the same as ``-D``."""
    draft.settings["daemon"] = True


@keyword("global", "master-worker", args=(Opt(OneOf("no-exit-on-failure")),))
def master_worker(draft: GlobalDraft, line: Line, _no_exit: str | None) -> None:
    """The same as ``-W``, also under ``-db``: a signal reloads, and the status at the end is that of a supervisor."""
    draft.settings["master_worker"] = True
    os.environ["HAPROXY_MWORKER"] = "1"


@keyword("global", "mworker-max-reloads", args=(Int(0, 2**31 - 1),), default=50)
def mworker_max_reloads(draft: GlobalDraft, line: Line, count: int) -> None:
    """How many reloads an old worker may survive before it gets SIGTERM."""
    draft.settings["max_reloads"] = count


@keyword(("global",), "nbthread", args=(Int(1, 256),), default="one per usable CPU")
def nbthread(draft: GlobalDraft, line: Line, count: int) -> None:
    """Number of worker processes (forkproxy has processes where HAProxy has threads)."""
    draft.settings["nbproc"] = count


@keyword("global", "nbproc", args=(Int(1, 256),), default="one per usable CPU")
def nbproc(draft: GlobalDraft, line: Line, count: int) -> None:
    """Number of worker processes: the older name of ``nbthread``."""
    draft.settings["nbproc"] = count


@keyword("global", "pidfile", args=(Word("a file name"),))
def pidfile(draft: GlobalDraft, line: Line, path: str) -> None:
    """Write the master's pid into this file; the same as ``-p``."""
    _once(draft, line, "pidfile", path)


@keyword("global", "chroot", args=(Word("a directory"),))
def chroot(draft: GlobalDraft, line: Line, path: str) -> None:
    """Workers change their root to this directory after everything has been opened."""
    _once(draft, line, "chroot", path)


@keyword("global", "user", args=(Word("a user name"),))
def user(draft: GlobalDraft, line: Line, name: str) -> None:
    """Workers run as this user."""
    try:
        _once(draft, line, "uid", pwd.getpwnam(name).pw_uid)
    except KeyError:
        line.fail(f"cannot find user id for '{name}'", 1)


@keyword("global", "group", args=(Word("a group name"),))
def group(draft: GlobalDraft, line: Line, name: str) -> None:
    """Workers run in this group."""
    try:
        _once(draft, line, "gid", grp.getgrnam(name).gr_gid)
    except KeyError:
        line.fail(f"cannot find group id for '{name}'", 1)


@keyword("global", "uid", args=(Int(0, 2**32 - 2),))
def uid(draft: GlobalDraft, line: Line, number: int) -> None:
    """Workers run as this user, by number."""
    _once(draft, line, "uid", number)


@keyword("global", "gid", args=(Int(0, 2**32 - 2),))
def gid(draft: GlobalDraft, line: Line, number: int) -> None:
    """Workers run in this group, by number."""
    _once(draft, line, "gid", number)


@keyword("global", "hard-stop-after", args=(Time("ms"),))
def hard_stop_after(draft: GlobalDraft, line: Line, limit_s: float) -> None:
    """The longest time that a worker may take to finish its streams after a soft stop or a reload."""
    draft.settings["hard_stop_after_s"] = limit_s


@keyword("global", "grace", args=(Time("ms"),))
def grace(draft: GlobalDraft, line: Line, delay_s: float) -> None:
    """Go on accepting this long after SIGUSR1 before the soft stop begins."""
    draft.settings["grace_s"] = delay_s


@keyword("global", "close-spread-time", args=(Word("<time>"),), synopsis="<time> | infinite")
def close_spread_time(draft: GlobalDraft, line: Line, text: str) -> None:
    """Spread the closing of idle connections at a soft stop over this time; ``infinite`` never closes them actively."""
    draft.settings["close_spread_s"] = math.inf if text == "infinite" else Time("ms").read(line, 1)[0]


@keyword("global", "localpeer", args=(Word("a name"),))
def localpeer(draft: GlobalDraft, line: Line, name: str) -> None:
    """The name of this instance, also in HAPROXY_LOCALPEER; ``-L`` has precedence."""
    if draft.peer_fixed:
        line.warn("'localpeer' ignored since it is already set by using the '-L' command line argument.")
    else:
        os.environ["HAPROXY_LOCALPEER"] = name


@keyword("global", "node", args=(Word("a name"),))
def node(draft: GlobalDraft, line: Line, name: str) -> None:
    """The name of this node on the statistics page and in ``show info``."""
    if not _NODE.fullmatch(name):
        line.fail(
            "'node' requires valid node name - non-empty string with digits(0-9), letters(A-Z, a-z), dot(.), hyphen(-) or underscode(_).", 1
        )
    draft.settings["node"] = name


@keyword("global", "description", args=(Rest(1),), synopsis="<text>")
def description(draft: GlobalDraft, line: Line, start: int) -> None:
    """A text that describes this instance on the statistics page."""
    draft.settings["description"] = " ".join(line.words[start:])


@keyword("global", "server-state-base", args=(Word("a directory"),))
def server_state_base(draft: GlobalDraft, line: Line, path: str) -> None:
    """The directory of state files whose names do not begin with a slash."""
    _once(draft, line, "server_state_base", path)


@keyword("global", "server-state-file", args=(Word("a file path"),))
def server_state_file(draft: GlobalDraft, line: Line, path: str) -> None:
    """Load the servers' states from this file at start."""
    _once(draft, line, "server_state_file", path)


# -- files -------------------------------------------------------------------------------------------------------------------


@keyword("global", "default-path", args=(OneOf("current", "config", "parent", "origin"), Opt(Word("a path"))), default="current")
def default_path(draft: GlobalDraft, line: Line, policy: str, origin: str | None) -> None:
    """Where relative paths of this file begin: the working directory, the file's directory, its parent, or a fixed path."""
    if policy == "origin" and origin is None:
        line.fail("'default-path origin' expects a directory.", 2)
    if policy != "origin" and origin is not None:
        line.fail(f"'default-path' cannot handle unexpected argument '{origin}'.", 2)
    start = draft.options.get("default_path", (os.getcwd(),))[0]
    draft.options["default_path"] = (start, policy, origin)
    try:
        follow_default_path(draft, line.file)
    except OSError as exc:
        line.fail(f"'default-path' : cannot change to '{exc.filename}' : {exc.strerror}", 1)


def follow_default_path(draft: GlobalDraft, file: str) -> None:
    """Change to where relative paths of ``file`` begin, once ``default-path`` was said. Raises OSError; ``load`` goes back at the end."""
    start, policy, origin = draft.options.get("default_path", ("", "", ""))
    directory = os.path.dirname(file)
    targets = {"config": directory, "parent": os.path.join(directory, ".."), "origin": origin}
    if policy:
        os.chdir(os.path.join(start, targets.get(policy) or "."))


# -- environment (undone by load when the file has been read) ------------------------------------------------------------


def _set(line: Line, name: str, value: str) -> None:
    if not name or "=" in name:
        line.fail(f"'{line.keyword}' failed on variable '{name}' : Invalid argument.", 1)
    os.environ[name] = value


def _pair(line: Line) -> tuple[str, str]:
    if len(line.words) < 3:
        line.fail(f"'{line.keyword}' expects a name and a value.", len(line.words))
    if len(line.words) > 3:
        line.fail(f"'{line.keyword}' cannot handle unexpected argument '{line.words[3]}'.", 3)
    return line.words[1], line.words[2]


@keyword("global", "setenv", args=(Rest(),), synopsis="<name> <value>")
def setenv(draft: GlobalDraft, line: Line, _start: int) -> None:
    """Set an environment variable, from the next line on."""
    _set(line, *_pair(line))


@keyword("global", "presetenv", args=(Rest(),), synopsis="<name> <value>")
def presetenv(draft: GlobalDraft, line: Line, _start: int) -> None:
    """Set an environment variable unless it exists."""
    name, value = _pair(line)
    if name not in os.environ:
        _set(line, name, value)


@keyword("global", "unsetenv", args=(Rest(),), synopsis="<name>*")
def unsetenv(draft: GlobalDraft, line: Line, start: int) -> None:
    """Remove environment variables."""
    if start == len(line.words):
        line.fail("'unsetenv' expects at least one variable name.", start)
    for name in line.words[start:]:
        os.environ.pop(name, None)


@keyword("global", "resetenv", args=(Rest(),), synopsis="<name>*")
def resetenv(draft: GlobalDraft, line: Line, start: int) -> None:
    """Remove all environment variables but the named ones."""
    keep = set(line.words[start:])
    for name in list(os.environ):
        if name not in keep:
            del os.environ[name]


# -- logs --------------------------------------------------------------------------------------------------------------------


@keyword(
    "global",
    "log",
    args=(Rest(),),
    synopsis="<target> [len <length>] [format <format>] [sample <ranges>:<size>] <facility> [<level> [<minlevel>]]",
)
def log(draft: GlobalDraft, line: Line, _start: int) -> None:
    """Add a log target for starts, stops, state changes, and every proxy that says ``log global``."""
    if line.negated:
        draft.log_targets.clear()
        return
    if len(line.words) > 1 and line.words[1] == "global":
        line.fail("log : 'global' is not supported for a global syslog server", 1)
    draft.log_targets.append(log_target.read_log(line))


@keyword("global", "log-tag", args=(Word("a tag for use in syslog"),), default="haproxy")
def log_tag(draft: GlobalDraft, line: Line, tag: str) -> None:
    """The program's name in syslog headers."""
    draft.settings["log_tag"] = tag


@keyword("global", "log-send-hostname", args=(Opt(Word("a host name")),), default="the system's host name")
def log_send_hostname(draft: GlobalDraft, line: Line, name: str | None) -> None:
    """Put a host name into syslog headers; the default log format becomes rfc3164."""
    draft.settings["log_send_hostname"] = name or socket.gethostname()


# -- limits and switches -----------------------------------------------------------------------------------------------------


@keyword("global", "maxconn", args=(Int(0, 2**31 - 1),), default="derived from the limit of descriptors")
def maxconn(draft: GlobalDraft, line: Line, count: int) -> None:
    """The most connections of clients at a time over all workers; ``-n`` has precedence."""
    _once(draft, line, "maxconn", count)


@keyword("global", "maxpipes", args=(Int(0, 2**31 - 1),), default="maxconn / 4")
def maxpipes(draft: GlobalDraft, line: Line, count: int) -> None:
    """The most pipes for splicing at a time over all workers."""
    _once(draft, line, "maxpipes", count)


@keyword("global", "ulimit-n", args=(Int(0, 2**31 - 1),), default="derived from maxconn")
def ulimit_n(draft: GlobalDraft, line: Line, count: int) -> None:
    """The limit of descriptors per process."""
    _once(draft, line, "ulimit_n", count)


@keyword("global", "fd-hard-limit", args=(Int(0, 2**31 - 1),), default=DEFAULT_MAX_FDS)
def fd_hard_limit(draft: GlobalDraft, line: Line, count: int) -> None:
    """Upper bound of the descriptors that a derived ``maxconn`` counts on."""
    draft.options["fd_hard_limit"] = count


@keyword("global", "strict-limits", default="on")
def strict_limits(draft: GlobalDraft, line: Line) -> None:
    """Refuse to start when the limit of descriptors cannot be set; ``no strict-limits`` only warns."""
    draft.options["strict_limits"] = not line.negated


@keyword("global", "spread-checks", args=(Int(),), default=0, synopsis="<0..50, in percent>")
def spread_checks(draft: GlobalDraft, line: Line, percent: int) -> None:
    """Vary the interval of health checks by up to this many percent."""
    if not 0 <= percent <= 50:
        line.fail("'spread-checks' needs a positive value in range 0..50.", 1)
    draft.settings["spread_checks_percent"] = percent


@keyword("global", "external-check", args=(Rest(),), synopsis="[preserve-env]")
def external_check(draft: GlobalDraft, line: Line, start: int) -> None:
    """Allow ``option external-check``; with preserve-env its programs see the master's environment."""
    words = line.words[start:]
    if words and words != ["preserve-env"]:
        line.fail(f"'external-check' only supports 'preserve-env' as an argument, found '{words[0]}'.", start)
    draft.options["external_check"] = "preserve" if words else "clean"


@keyword("global", "max-spread-checks", args=(Time("ms"),))
def max_spread_checks(draft: GlobalDraft, line: Line, limit_s: float) -> None:
    """Start the checks of all servers of a backend within this time."""
    draft.settings["max_spread_checks_s"] = limit_s


@keyword("global", "nosplice")
def nosplice(draft: GlobalDraft, line: Line) -> None:
    """Never move bytes with splice; the same as ``-dS``."""
    draft.settings["nosplice"] = True


@keyword("global", "noreuseport")
def noreuseport(draft: GlobalDraft, line: Line) -> None:
    """Never set SO_REUSEPORT on listening sockets; the same as ``-dR``."""
    draft.options["noreuseport"] = True


@keyword("global", "quiet")
def quiet(draft: GlobalDraft, line: Line) -> None:
    """Show no messages at start; the same as ``-q``."""
    draft.settings["quiet"] = True


@keyword("global", "zero-warning")
def zero_warning(draft: GlobalDraft, line: Line) -> None:
    """Refuse to start when anything was warned of; the same as ``-dW``."""
    draft.settings["zero_warning"] = True


@keyword(
    "global",
    "unix-bind",
    args=(Rest(),),
    synopsis="[prefix <prefix>] [mode <mode>] [user <user>] [uid <uid>] [group <group>] [gid <gid>]",
)
def unix_bind(draft: GlobalDraft, line: Line, start: int) -> None:
    """What unix sockets of ``bind`` lines have unless they say otherwise: path prefix, mode, owner, group."""
    given: dict[str, Any] = draft.options.setdefault("unix_bind", {})
    for at in range(start, len(line.words), 2):
        name = line.words[at]
        if name not in ("prefix", "mode", "user", "uid", "group", "gid") or at + 1 >= len(line.words):
            line.fail("'unix-bind' only supports the 'prefix', 'mode', 'uid', 'gid', 'user' and 'group' options.", at)
        value = line.words[at + 1]
        try:
            match name:
                case "prefix":
                    given["prefix"] = value
                case "mode":
                    given["mode"] = int(value, 8)
                case "uid" | "gid":
                    given[name] = int(value)
                case "user":
                    given["uid"] = pwd.getpwnam(value).pw_uid
                case "group":
                    given["gid"] = grp.getgrnam(value).gr_gid
        except (KeyError, ValueError):
            line.fail(f"'unix-bind' : '{name}' : missing or unknown value '{value}'", at + 1)


# -- what depends on the whole -----------------------------------------------------------------------------------------------


def finish(draft: GlobalDraft, proxies: Iterable[ProxyDraft], diag: Diagnostics, options: Options) -> None:
    """Settle what depends on the command line, the machine, or lines that come later. Called once, before ``build``."""
    settings = draft.settings
    proxies = list(proxies)
    settings["daemon"] = (settings.get("daemon", False) or options.daemon) and not (options.foreground or options.debug)
    settings["quiet"] = (settings.get("quiet", False) or options.quiet) and not options.verbose
    settings["zero_warning"] = settings.get("zero_warning", False) or options.zero_warning
    settings["nosplice"] = settings.get("nosplice", False) or options.no_splice
    if options.pidfile:
        settings["pidfile"] = options.pidfile
    settings["nbproc"] = 1 if options.debug else settings.get("nbproc") or len(os.sched_getaffinity(0))
    draft.options.pop("default_path", None)
    draft.options["noreuseport"] = draft.options.get("noreuseport", False) or options.no_reuseport
    settings["master_sockets"] = _master_sockets(options.master_sockets, diag)
    _buffers(settings)
    _limits(draft, proxies, options)
    for proxy in proxies:
        for bind in proxy.binds:
            _unix_defaults(bind, draft.options.get("unix_bind", {}))


def _master_sockets(given: Iterable[str], diag: Diagnostics) -> tuple[Bind, ...]:
    """The ``-S`` options, ``address[,option…]`` each: the words of a bind line with commas for blanks. Their users may do everything."""
    if not given:
        return ()
    from forkproxy.config.build_server import build_binds
    from forkproxy.config.keywords.bind import read_bind

    drafts = []
    for text in given:
        line = Line(["-S", *text.split(",")], diag=diag)
        try:
            bind = read_bind(line, 1, "'-S'")
        except ConfigError as exc:
            diag.error(ConfigError(f"-S {text} : {exc.message}", hint=exc.hint))
            continue
        bind.settings.setdefault("level", "admin")
        drafts.append(bind)
    return build_binds(drafts)


def _buffers(settings: dict[str, Any]) -> None:
    """Round and bound the buffer sizes as the manual says (3.2 tune.bufsize, tune.maxrewrite)."""
    size = (settings.get("bufsize_bytes", 16384) + 15) & ~15
    settings["bufsize_bytes"] = size
    settings["maxrewrite_bytes"] = min(settings.get("maxrewrite_bytes", 1024), size // 2)


def _unix_defaults(bind: BindDraft, given: dict[str, Any]) -> None:
    """Apply ``unix-bind`` to one ``bind`` line; what the line says itself has precedence."""
    if not given or not any(a.family == "unix" for a in bind.addresses):
        return
    prefix = given.get("prefix", "")
    bind.addresses = [replace(a, host=prefix + a.host) if a.family == "unix" else a for a in bind.addresses]
    for name in ("mode", "uid", "gid"):
        if name in given:
            bind.settings.setdefault(name, given[name])


def _limits(draft: GlobalDraft, proxies: list[ProxyDraft], options: Options) -> None:
    """Derive ``maxconn``, ``maxpipes`` and ``ulimit-n`` from each other and from the system (manual 3.2 maxconn, 3.1 ulimit-n).

    A connection takes two descriptors (client and server), a pipe two more, and two buffers of what ``-m`` leaves.
    Descriptors are limited per process; since all connections may meet in one worker, each worker gets the limit for all of them.
    """
    import resource

    settings = draft.settings
    fixed = OWN_FDS + sum(len(b.addresses) for p in proxies for b in p.binds)
    # the master may check all servers at once
    fixed += sum(bool(s.settings.get(what)) for p in proxies for s in p.servers for what in ("check", "agent"))
    splices = not settings["nosplice"] and any(p.on(f"splice-{way}") for p in proxies for way in ("auto", "request", "response"))
    if options.maxconn:
        settings["maxconn"] = options.maxconn
    if not settings.get("maxconn"):
        if settings.get("ulimit_n"):
            fds = settings["ulimit_n"]
        else:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            unlimited = resource.RLIM_INFINITY
            fds = max(DEFAULT_MAX_FDS if n == unlimited else n for n in (soft, hard))
            fds = min(fds, draft.options.get("fd_hard_limit") or DEFAULT_MAX_FDS)
        left = max(fds - fixed, 2)
        if "maxpipes" in settings:
            settings["maxconn"] = max((left - 2 * settings["maxpipes"]) // 2, 1)
        else:
            settings["maxconn"] = left * 2 // 5 if splices else left // 2
        if options.memory_limit_mb:
            memory = (options.memory_limit_mb << 20) - OWN_MEMORY
            fitting = memory // (2 * settings["bufsize_bytes"] + CONNECTION_MEMORY)
            settings["maxconn"] = max(min(settings["maxconn"], fitting), 1)
    if "maxpipes" not in settings:
        settings["maxpipes"] = settings["maxconn"] // 4
    if not settings.get("ulimit_n"):
        settings["ulimit_n"] = 2 * settings["maxconn"] + (2 * settings["maxpipes"] if splices else 0) + fixed
