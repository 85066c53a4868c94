"""Actions that hand the request to something of our own: use-service (manual 4.4)."""

from __future__ import annotations

from typing import Any

from forkproxy.plan import Step
from forkproxy.registry import SERVICES, Ends, action
from forkproxy.rules.action import HTTP_REQ, Parser, mark
from forkproxy.rules.verdict import Service


@action("use-service", at=(HTTP_REQ,), ends=Ends.STREAM, synopsis="<service-name>")
def use_service(p: Parser) -> Step:
    """Let a registered service answer, for example "prometheus-exporter".

    The service's factory is called with the rule's words and gives ``handler(txn) -> (status, headers, body)``.
    """
    name = p.word("a service's name")
    entry = SERVICES.get(name)
    if entry is None:
        message, hint = p.ctx.unknown("service", name, SERVICES)
        p.words.fail(message, hint=hint)
    verdict = Service("service", handler=entry.factory(p.words))

    def step(txn: Any) -> Service:
        mark(txn, "service", True)
        return verdict

    return step
