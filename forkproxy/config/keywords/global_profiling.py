"""What workers measure of themselves from their start on (manual 3.2 "profiling.memory", "profiling.tasks")."""

from __future__ import annotations

from forkproxy.config.args import OneOf, Rest
from forkproxy.config.drafts import GlobalDraft
from forkproxy.config.line import Line
from forkproxy.registry import keyword


def _switch(draft: GlobalDraft, what: str, on: bool) -> None:
    draft.settings["profiling"] = draft.settings.get("profiling", frozenset()) - {what} | ({what} if on else frozenset())


@keyword("global", "profiling.memory", args=(OneOf("on", "off"),), default="off")
def profiling_memory(draft: GlobalDraft, line: Line, state: str) -> None:
    """Have workers note which line of the program allocated what (tracemalloc), for ``show profiling``; slows them down a lot."""
    _switch(draft, "memory", state == "on")


@keyword("global", "profiling.tasks", args=(Rest(1),), default="off", synopsis="{ on | off | auto }")
def profiling_tasks(draft: GlobalDraft, line: Line, start: int) -> None:
    """Have workers measure the time that each function takes (cProfile), for ``show profiling``; doubles their work."""
    for index, word in enumerate(line.words[start:], start):
        if word in ("on", "off"):
            _switch(draft, "tasks", word == "on")
        elif word == "auto":
            _switch(draft, "tasks", False)
            line.note("'profiling.tasks auto' : profiling costs too much here to begin by itself.")
        elif word in ("lock", "no-lock", "memory", "no-memory"):
            line.note(f"'profiling.tasks {word}' : a worker of forkproxy has neither locks nor pools that wait.")
        else:
            line.fail(f"'profiling.tasks' expects 'on', 'off' or 'auto' (got '{word}')", index)
