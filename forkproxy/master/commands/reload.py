"""``reload``, ``hard-reload`` and ``show startup-logs`` (management manual 9.4.1)."""

from __future__ import annotations

from forkproxy.master.cli_session import Deferred, Session
from forkproxy.registry import Level, command


@command("reload", level=Level.OPERATOR, where=("master",), synopsis="reload")
def reload(session: Session, words: list[str]) -> Deferred:
    """Reload the configuration."""
    return _reload(session, hard=False)


@command("hard-reload", level=Level.OPERATOR, where=("master",), synopsis="hard-reload")
def hard_reload(session: Session, words: list[str]) -> Deferred:
    """Reload the configuration and end the old workers at once."""
    return _reload(session, hard=True)


def _reload(session: Session, *, hard: bool) -> Deferred:
    answer = Deferred()

    def done(success: bool, told: list[str]) -> None:
        answer.finish(f"Success={int(success)}\n--\n" + "".join(f"{line}\n" for line in told))
        session.closing = True
        session.wake()

    # not before the session waits for it
    session.master.loop.call_soon(lambda: session.master.reloader.request(done, hard=hard))
    return answer


@command("show startup-logs", level=Level.OPERATOR, where=("master", "worker"), synopsis="show startup-logs")
def show_startup_logs(session: Session, words: list[str]) -> str:
    """Report logs emitted during start-up and reloads."""
    return "".join(f"{line}\n" for line in session.master.messages.history)
