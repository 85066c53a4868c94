"""``add``, ``del``, ``publish`` and ``unpublish backend`` (management manual 9.3): backends that no file knows, until a reload begins
with the file again, and whether content switching may choose one.

A backend that is added is what the file says of a named defaults section: that was compiled with the file, rules included, and every
worker has it.
"""

from __future__ import annotations

from forkproxy.errors import ConfigError
from forkproxy.master import lookup
from forkproxy.master.cli_session import NOTICE, Deferred, Refused, Session
from forkproxy.master.orders import Reply
from forkproxy.plan import Backend
from forkproxy.registry import Level, command
from forkproxy.state.names import backend_key
from forkproxy.values import replace

_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:")


@command("publish backend", level=Level.OPERATOR, synopsis="publish backend <backend>")
def publish_backend(session: Session, words: list[str]) -> Deferred:
    """Let rules choose a backend again."""
    return _publish(session, words, False)


@command("unpublish backend", level=Level.OPERATOR, synopsis="unpublish backend <backend>")
def unpublish_backend(session: Session, words: list[str]) -> Deferred:
    """Have use_backend and default_backend pass over a backend; its checks go on."""
    return _publish(session, words, True)


def _publish(session: Session, words: list[str], unpublished: bool) -> Deferred:
    backend = lookup.backend_at(session, words, 2)
    if backend.disabled:
        raise Refused("No effect on a disabled backend.")
    session.master.changes.backend(backend, unpublished=unpublished)
    said = session.message(f"Backend {'unpublished' if unpublished else 'published'}.", NOTICE)
    return session.ask("publish backend", lambda _replies: said, backend=backend.name, unpublished=unpublished)


# -- coming and going ------------------------------------------------------------------------------------------------------


@command("add backend", level=Level.ADMIN, mode="experimental", synopsis="add backend <name> from <defaults> [opts]")
def add_backend(session: Session, words: list[str]) -> Deferred:
    """Create a backend that inherits from a named defaults section, unpublished and without servers; in experimental mode."""
    if len(words) < 5 or words[3] != "from":
        raise Refused("Usage: add backend <name> from <defproxy> [mode <mode>].")
    name, defaults, master = words[2], words[4], session.master
    plan = master.plan
    if bad := next((c for c in name if c not in _LETTERS), ""):
        raise Refused(f"Invalid character '{bad}' in the name '{name}'.")
    if name in plan.backends:
        raise Refused(f"Proxy name '{name}' already used.")
    model = plan.objects.get(f"defaults/{defaults}")
    if model is None:
        raise Refused(f"Unknown default proxy '{defaults}'.")
    if isinstance(model, str):
        raise Refused(f"No backend can inherit from '{defaults}': {model}")
    _options(words[5:], model, defaults)
    taken = {proxy.id for proxy in (*plan.frontends, *plan.backends.values())}
    number = next(n for n in range(1 + bool(plan.global_.stats_sockets), len(taken) + 3) if n not in taken)
    backend: Backend = replace(model, name=name, id=number, added=True, unpublished=True)
    changed = replace(plan, backends={**plan.backends, name: backend})
    try:
        master.shared.extend(changed)
    except ConfigError as exc:
        raise Refused(exc.message) from None
    master.health.board.found(backend)
    master.changes.plan(changed)
    row = master.shared.state.names.row(backend_key(name))
    said = session.message("New backend registered.", NOTICE)
    return session.ask("add backend", lambda _replies: said, backend=name, defaults=defaults, number=number, row=row)


def _options(words: list[str], model: Backend, defaults: str) -> None:
    """What may follow: "mode", which the model has been compiled for."""
    while words:
        option, value = words[0], words[1] if len(words) > 1 else ""
        if option != "mode":
            raise Refused(f"'{option}' is not supported for added backends.")
        if value not in ("tcp", "http"):
            raise Refused("'mode' expects 'tcp' or 'http'.")
        if value != model.mode:
            raise Refused(f"Mode '{value}' is not that of default proxy '{defaults}', which is '{model.mode}'.")
        del words[:2]


def obstacle(session: Session, name: str) -> str:
    """Why a backend cannot be removed, as far as waiting does not help; "" when nothing is in the way."""
    backend = session.master.plan.backends[name]
    if not backend.added:
        return "This proxy cannot be removed at runtime: the configuration may refer to it, only added backends can."
    if not backend.unpublished:
        return "Backend must be unpublished prior to its deletion."
    if backend.servers:
        return "Backend still contains servers attached to it."
    return ""


@command("del backend", level=Level.ADMIN, mode="experimental", synopsis="del backend <backend>")
def del_backend(session: Session, words: list[str]) -> Deferred:
    """Remove an added backend that is unpublished and has neither servers nor streams; in experimental mode."""
    name = lookup.backend_at(session, words, 2).name
    if why := obstacle(session, name):
        raise Refused(why)
    master, deferred = session.master, Deferred()
    orders = master.supervisor.orders

    def counted(replies: list[Reply]) -> None:
        if any(reply.value for reply in replies):
            deferred.finish(session.message("Backend still has streams attached to it, cannot remove it.", 3))
            return
        plan = master.plan
        master.changes.plan(replace(plan, backends={n: backend for n, backend in plan.backends.items() if n != name}))
        master.health.board.lost(name)
        orders.give(master.supervisor.workers(), "del backend", removed, backend=name)

    def removed(replies: list[Reply]) -> None:
        if len(replies) == len(master.supervisor.workers()) and not any(reply.error for reply in replies):
            master.shared.forget(backend_key(name))  # else somebody may still count there: the row stays taken
        deferred.finish(session.message("Backend deleted.", NOTICE))

    orders.give(master.supervisor.workers(), "backend busy", counted, backend=name)
    return deferred
