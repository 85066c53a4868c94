"""Drafts of binds, servers and checks to their plan values, and what has to be true of them together: names, numbers, tracking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from forkproxy.config.address import parse_address
from forkproxy.config.drafts import BindDraft, ProxyDraft, ServerDraft
from forkproxy.config.line import Line
from forkproxy.errors import ConfigError
from forkproxy.plan import Address, Bind, Check, SavedState, Server
from forkproxy.rules import hashing
from forkproxy.values import replace

#: settings of bind and server lines that are no fields of the plan's
_APART = ("proto", "guid", "guid-prefix")


def numbers(explicit: Iterable[int | None]) -> list[int]:
    """Identifiers as HAProxy gives them: the count of the thing, moved up past numbers that are taken.

    ``explicit`` has the number that the file gives to each thing, or None.
    """
    wanted = list(explicit)
    used = {n for n in wanted if n is not None}
    result, following = [], 1
    for number in wanted:
        if number is None:
            while following in used:
                following += 1
            number = following
        result.append(number)
        following += 1
    return result


def check_protocol(line: Line, settings: Mapping[str, Any], mode: str, party: str, what: str) -> None:
    """``proto`` only states what is so: each mode has one protocol."""
    stated = settings.get("proto")
    if stated is not None and stated != ("h1" if mode == "http" else "none"):
        line.alert(f"{party} : MUX protocol '{stated}' is not usable for {what}.", _word(line, "proto") + 1)


def build_binds(drafts: list[BindDraft], mode: str = "", party: str = "") -> tuple[Bind, ...]:
    """One bind per address of each line, numbered. ``mode`` is that of ``party``, the frontend."""
    flat: list[tuple[BindDraft, Address]] = []
    explicit: list[int | None] = []
    seen: dict[int, BindDraft] = {}
    for draft in drafts:
        check_protocol(draft.line, draft.settings, mode, party, f"'bind {draft.line.words[1]}'")
        number = draft.settings.get("id")
        if number is not None:
            shown = f"'bind {draft.line.words[1]}' in section '{draft.line.section}'"
            if len(draft.addresses) > 1:
                draft.line.alert(f"{shown} : 'id' can only be used with a single socket", _word(draft.line, "id"))
            elif number in seen:
                first = seen[number].line
                draft.line.alert(
                    f"{shown} : 'id' : custom id {number} already used at {first.file}:{first.number} ('bind {first.words[1]}')",
                    _word(draft.line, "id"),
                )
            seen.setdefault(number, draft)
        for address in draft.addresses:
            flat.append((draft, address))
            explicit.append(number)
    return tuple(
        Bind(address=address, place=draft.line.place, **{n: v for n, v in draft.settings.items() if n not in _APART} | {"id": number})
        for (draft, address), number in zip(flat, numbers(explicit), strict=True)
    )


def _word(line: Line, word: str) -> int:
    return line.words.index(word) if word in line.words else 0


def _address(server: ServerDraft, saved: SavedState | None) -> Address:
    """The address of a server: of one that is given by name the last known one where ``init-addr`` prefers that. The last known port
    stands for a fixed one."""
    address = server.address
    if address.family == "name" or server.settings.get("last-address"):
        if saved is not None and saved.address:
            try:
                literal = parse_address(saved.address, allow_port=False, resolve=None)[0]
            except ValueError:
                literal = address
            address = replace(address, family=literal.family, host=literal.host) if literal.family in ("ipv4", "ipv6") else address
        if address.family == "name":
            at = 3 if server.line.words[0] == "server-template" else 2
            server.line.fail(f"{server.shown} : could not resolve address '{address.host}'.", at)
    if saved is not None and saved.port and address.port and not address.port_relative:
        address = replace(address, port=saved.port)
    return address


class ServerBuilder:
    """Builds the servers of one backend."""

    __slots__ = ("checks", "draft", "states")

    def __init__(self, draft: ProxyDraft, checks: Check, states: Mapping[str, SavedState]) -> None:
        self.draft = draft
        self.states = states
        self.checks = checks

    def build(self) -> tuple[Server, ...]:
        """All servers, numbered; ``track`` is resolved later, when every backend is known."""
        draft = self.draft
        made = []
        self._distinct()
        for server, number in zip(draft.servers, numbers(s.settings.get("id") for s in draft.servers), strict=True):
            try:
                made.append(self._one(server, number))
            except ConfigError as exc:
                server.line.diag.error(exc)
        if draft.dispatch is not None and not draft.servers:
            line, address = draft.dispatch
            made.append(Server(name="dispatch", address=address, backend=draft.name, id=1, place=line.place))
        elif draft.on("transparent") and not draft.servers:
            made.append(Server(name="transparent", address=Address("ipv4", "0.0.0.0"), backend=draft.name, id=1, place=draft.place))
        return tuple(made)

    def _distinct(self) -> None:
        names: dict[str, ServerDraft] = {}
        ids: dict[int, ServerDraft] = {}
        for server in self.draft.servers:
            first = names.setdefault(server.name, server)
            if first is not server:
                server.line.alert(
                    f"{self.draft.label} '{self.draft.name}', another server named '{server.name}' was already defined at line "
                    f"{first.line.number}, please use distinct names.", 1,
                )  # fmt: skip
            number = server.settings.get("id")
            if number is not None:
                holder = ids.setdefault(number, server)
                if holder is not server:
                    server.line.alert(
                        f"{server.shown} : 'id' : custom id {number} already used at {holder.line.file}:{holder.line.number} "
                        f"('server {holder.name}').", _word(server.line, "id"),
                    )  # fmt: skip

    def _one(self, server: ServerDraft, number: int) -> Server:
        draft = self.draft
        settings = {k: v for k, v in server.settings.items() if "." not in k and k not in ("check", "agent", "last-address", *_APART)}
        check_protocol(server.line, server.settings, draft.mode, f"{draft.label} '{draft.name}'", f"server '{server.name}'")
        saved = settings["saved"] = self.states.get(server.name)
        server.address = _address(server, saved)
        settings["id"] = number
        if "source" not in settings:
            settings.update(draft.source)
        minconn, maxconn = settings.get("minconn", 0), settings.get("maxconn", 0)
        if minconn > maxconn:
            settings["maxconn"], settings["minconn"] = minconn, 0  # a constant limit, as HAProxy reads it
        if draft.mode != "http" and (settings.get("cookie") or settings.get("redir")):
            server.line.fail(f"{draft.label} '{draft.name}' : server cannot have cookie or redirect prefix in non-HTTP mode.", 1)
        cookie, key = draft.settings.get("cookie"), draft.settings.get("dynamic-cookie-key")
        if cookie is not None and cookie.dynamic and key and draft.mode == "http" and not settings.get("cookie"):
            settings["cookie"] = self._dynamic(server, key)
        checked = bool(server.settings.get("check"))
        if checked and settings.get("track"):
            server.line.fail(f"{server.shown} : unable to enable checks and tracking at the same time!", _word(server.line, "track"))
        return Server(
            name=server.name,
            address=server.address,
            backend=draft.name,
            place=server.line.place,
            check=self._check(server) if checked else None,
            agent=self._agent(server) if server.settings.get("agent") else None,
            **settings,
        )

    @staticmethod
    def _dynamic(server: ServerDraft, key: bytes) -> bytes:
        try:
            return hashing.server_cookie(key, server.address.host, server.address.port)
        except ImportError:
            server.line.fail("'cookie' : 'dynamic' needs the Python package 'xxhash', which is not installed")

    def _agent(self, server: ServerDraft) -> Check:
        own = {name[6:]: value for name, value in server.settings.items() if name.startswith("agent.")}
        question = own.pop("send", b"")
        if "port" not in own:
            server.line.fail(
                f"{server.shown} : 'agent-check' needs a port to ask at, please set 'agent-port'.", _word(server.line, "agent-check")
            )
        shared = self.checks
        return Check(
            kind="agent-check", rise=1, fall=1, timeout_s=shared.timeout_s, connect_timeout_s=shared.connect_timeout_s,
            log_checks=shared.log_checks, bufsize_bytes=shared.bufsize_bytes, options={"send": question}, **own,
        )  # fmt: skip

    def _check(self, server: ServerDraft) -> Check:
        own = {name[6:]: value for name, value in server.settings.items() if name.startswith("check.")}
        if server.settings.get("send_proxy") and "port" not in own and "address" not in own:
            own["send_proxy"] = True  # the same door, the same way in (manual 5.2 "check-send-proxy")
        check = replace(self.checks, **own)
        address = server.address
        stated = any(step.kind == "connect" and step.args.get("port") for step in check.steps)
        if not (check.port or stated) and address.family in ("ipv4", "ipv6") and (not address.port or address.port_relative):
            what = " nor tcp_check rule 'connect' with port information" if check.kind in ("http", "tcp-check") else ""
            server.line.fail(
                f"backend '{self.draft.name}': server '{server.name}' has neither service port nor check port{what}.",
                _word(server.line, "check"),
            )
        return check


def resolve_tracking(drafts: Mapping[str, ProxyDraft], servers: dict[str, list[Server]]) -> None:
    """Turn every ``track`` into ``backend/server`` and refuse unknown, unchecked and circular ones. Changes ``servers`` in place."""
    table = {server.key: server for listed in servers.values() for server in listed}

    def name_of(server: Server) -> str:
        return server.track if "/" in server.track else f"{server.backend}/{server.track}"

    for backend, listed in servers.items():
        lines: dict[str, ServerDraft] = {s.name: s for s in drafts[backend].servers}
        for index, server in enumerate(listed):
            if server.track:
                target = name_of(server)
                problem = _tracking_problem(server, target, table, servers, name_of)
                if problem:
                    draft = lines[server.name]
                    draft.line.alert(f"{draft.shown} : {problem}", _word(draft.line, "track") + 1)
                listed[index] = replace(server, track=target)


def _tracking_problem(
    server: Server, target: str, table: Mapping[str, Server], servers: Mapping[str, Any], name_of: Callable[[Server], str]
) -> str:
    backend, _, name = target.partition("/")
    if backend not in servers:
        return f"unable to find required proxy '{backend}' for tracking."
    if target not in table:
        return f"unable to find required server '{name}' for tracking."
    seen = {server.key}
    here = table[target]
    while here.track:
        if here.key in seen:
            return f"unable to track {target}: the servers form a loop."
        seen.add(here.key)
        following = table.get(name_of(here))
        if following is None:
            return ""  # reported at the server that says it
        here = following
    if here.check is None and here.agent is None:
        return f"unable to use {target} for tracking as it does not have any check nor agent enabled."
    return ""
