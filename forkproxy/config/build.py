"""Drafts to the plan: names resolved, fall-backs applied, rules compiled, and everything said that is only seen in the whole.

Messages are HAProxy's where it has one. Nothing here raises for what the operator wrote: problems become alerts, and a plan
comes out only without any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from forkproxy import balance as algorithms
from forkproxy.config import build_derived, build_logs, known
from forkproxy.config.build_checks import build_check
from forkproxy.config.build_filters import bandwidth_filters
from forkproxy.config.build_rules import HTTP_KINDS, KINDS, RuleSets, compile_format, compile_forwarded, compile_key, switching
from forkproxy.config.build_server import ServerBuilder, build_binds, numbers, resolve_tracking
from forkproxy.config.build_stats import statistics
from forkproxy.config.build_stick import stick_tables
from forkproxy.config.diagnostics import Diagnostics, Severity, did_you_mean
from forkproxy.config.drafts import GlobalDraft, ProxyDraft
from forkproxy.config.keywords.balance import HTTP_ALGORITHMS
from forkproxy.config.keywords.options import BACK_ONLY, FRONT_ONLY, HTTP_ONLY
from forkproxy.config.options import Options
from forkproxy.config.states import States
from forkproxy.plan import Backend, Balance, Bind, ErrorReply, Frontend, Global, Plan, Server
from forkproxy.progress import each
from forkproxy.registry import Needs
from forkproxy.rules.context import RuleContext
from forkproxy.rules.keyring import Keyring
from forkproxy.rules.patternfiles import PatternFiles
from forkproxy.values import replace

#: settings of a draft that stand in the plan under their own names, not in ``capabilities``
_CONSUMED = frozenset(
    {
        "check_kind", "check_options", "external_command", "external_path", "check_disable_on_404", "check_send_state",
        "hash-balance-factor", "hash-preserve-affinity", "errorfile-lines", "log-format-line", "stick-table", "stick-table-line",
        "cookie", "dynamic-cookie-key", "rdp-cookie", "load-server-state", "server-state-file-name",
        "name-header", "forwarded", "filters", "filter-sequence", "guid",
    }
)  # fmt: skip


def build(
    global_draft: GlobalDraft, proxies: list[ProxyDraft], defaults: Iterable[ProxyDraft], objects: Mapping[str, Any],
    diag: Diagnostics, options: Options,
) -> Plan | None:  # fmt: skip
    """The plan of a whole configuration, or None after an alert. ``objects`` has named things by "kind/name"; ``defaults`` are backends
    that inherit from each named defaults section."""
    return _Builder(global_draft, proxies, defaults, objects, diag, options).build()


class _Builder:
    """One run. Attributes live as long as it."""

    __slots__ = (
        "backends", "defaults", "diag", "files", "frontends", "global_draft", "ids", "keyring", "known", "leading", "objects", "options",
        "profiles", "proxies", "states", "tables", "traced",
    )  # fmt: skip

    def __init__(
        self, global_draft: GlobalDraft, proxies: list[ProxyDraft], defaults: Iterable[ProxyDraft], objects: Mapping[str, Any],
        diag: Diagnostics, options: Options,
    ) -> None:  # fmt: skip
        self.global_draft = global_draft
        self.proxies = proxies
        self.defaults = defaults
        self.profiles = {name[12:]: made for name, made in objects.items() if name.startswith("log-profile/")}
        self.objects = {name: made for name, made in objects.items() if not name.startswith("log-profile/")}
        self.diag = diag
        self.options = options
        said = global_draft.options.get
        self.files, self.keyring = PatternFiles(), Keyring(said("jwt-algorithms"), said("jwt-encryptions"))
        self.backends = {p.name: p for p in reversed(proxies) if p.is_backend}
        self.frontends = {p.name: p for p in reversed(proxies) if p.is_frontend}
        settings = global_draft.settings
        self.states = States(settings.pop("server_state_base", ""), settings.pop("server_state_file", ""), diag)
        self.ids = self._number()
        self.known = _Known()
        self.traced = _traced(proxies, objects)
        self.tables = stick_tables(proxies)
        self.leading: dict[str, int] = {}  # what the frontends take that lead to a backend by its name

    def build(self) -> Plan | None:
        """Everything, in the order of the file."""
        fronts: list[tuple[Frontend, RuleContext]] = []
        backends: dict[str, Backend] = {}
        servers: dict[str, list[Server]] = {}
        readable = not self.diag.failed  # warnings about lines that were not understood would mislead
        for draft in each(self.proxies, "building", "proxies"):
            common, rules, context = self._common(draft)
            if draft.is_backend:
                backend = self._backend(draft, common, rules, context)
                if draft.name not in backends:
                    backends[draft.name] = backend
                    servers[draft.name] = list(backend.servers)
            if draft.is_frontend:
                fronts.append((self._frontend(draft, common, rules, context), context))
            if readable and not draft.disabled:
                self._warnings(draft)
        frontends = [build_logs.with_profiles(made, context, self.profiles, backends) for made, context in fronts]
        guids = build_derived.guids(self.proxies)
        resolve_tracking({name: self.backends[name] for name in servers}, servers)
        if self.diag.failed:
            return None
        later = {f"defaults/{draft.name}": self._later(draft) for draft in self.defaults}
        self.files.settle()
        linked = {name: replace(b, servers=tuple(servers[name])) for name, b in backends.items()}
        return Plan(
            global_=self._global(),
            frontends=tuple(frontends),
            backends=build_derived.full(linked, self.leading),
            files=tuple(dict.fromkeys(p.line.file for p in self.proxies if p.line is not None)),
            objects={
                **self.objects, **later, "guids": guids, "patterns": self.files,
                "variables": dict(self.global_draft.options.get("variables", {})),
            },
            tables=self.tables,
        )

    def _later(self, draft: ProxyDraft) -> Backend | str:
        """What a backend is that is added later and inherits from a defaults section; or why there can be none."""
        said = len(self.diag.messages)
        self.ids[id(draft)] = 0
        backend = self._backend(draft, *self._common(draft))
        heard = self.diag.messages[said:]
        del self.diag.messages[said:]  # whoever inherits in the file has heard it; who does not, need not
        return next((message.text for message in heard if message.severity is Severity.ALERT), backend)

    # -- the global section ---------------------------------------------------------------------------------------------------

    def _global(self) -> Global:
        draft = self.global_draft
        tag = draft.settings.get("log_tag", "haproxy")
        return Global(
            **draft.settings,
            log_targets=tuple(replace(t, tag=tag) for t in draft.log_targets),
            stats_sockets=_cli_binds(draft.stats_sockets),
            stats_endpoint=_cli_binds(draft.stats_endpoint),
            options=draft.options,
            metered=bool(draft.stats_endpoint)
            or any("prometheus-exporter" in rule.line.words for proxy in self.proxies for rule in proxy.rules)
            or any(proxy.stats_page is not None and proxy.stats_page.show_modules for proxy in self.proxies),
        )

    def _number(self) -> dict[int, int]:
        """id(draft) → identifier; the CLI's own frontend comes first when there is one."""
        holders: dict[int, ProxyDraft] = {}
        for draft in self.proxies:
            if draft.id is None:
                continue
            holder = holders.setdefault(draft.id, draft)
            if holder is not draft:
                assert draft.line is not None and holder.line is not None
                draft.line.alert(
                    f"{draft.label} {draft.name} reuses same custom id as {holder.label} {holder.name} "
                    f"(declared at {holder.line.file}:{holder.line.number})."
                )
        first: list[int | None] = [None] if self.global_draft.stats_sockets else []
        given = numbers([*first, *(p.id for p in self.proxies)])
        return {id(p): number for p, number in zip(self.proxies, given[len(first) :], strict=True)}

    # -- what frontends and backends share ------------------------------------------------------------------------------------

    def _common(self, draft: ProxyDraft) -> tuple[dict[str, Any], RuleSets, RuleContext]:
        context = RuleContext(
            mode=draft.mode, caps=draft.kind, name=draft.name,
            userlists={name[9:]: made for name, made in self.objects.items() if name.startswith("userlist/")},
            errors={name[12:]: made for name, made in self.objects.items() if name.startswith("http-errors/")},
            files=self.files,
            captures=(draft.capture_request, draft.capture_response),
            logasap=draft.on("logasap") and "log-steps" not in draft.settings,
            traced=self.traced,
            known=self.known,
            tables=self.tables,
            verdicts=self.global_draft.options.get("verdicts"),
            stick_counters=self.global_draft.options.get("stick-counters", 3),
            keyring=self.keyring,
            find=lambda kind, name: self._find(draft, kind, name),
        )
        context.filters = bandwidth_filters(draft, context)
        rules = RuleSets(draft, context)
        rules.compile()
        page = statistics(draft, rules, context, self.global_draft.settings, self.diag)
        late = ("redirect",)  # behind the statistics page (observed)
        steps = {
            "tcp_request_content": rules.of("tcp-request content"),
            "tcp_response_content": rules.of("tcp-response content"),
            "http_request": rules.of("block", "http-request", "reqdeny", "reqideny", *(() if page else late)),
            "http_response": rules.of("http-response", "rspdeny", "rspideny"),
            "http_after_response": rules.of("http-after-response"),
            "statistics": (*page, *(rules.of(*late) or ())) if page else None,
        }
        http = draft.speaks_http
        common = {
            "name": draft.name,
            "id": self.ids[id(draft)],
            "place": draft.place,
            "mode": draft.mode,
            "description": draft.description,
            "disabled": draft.disabled,
            "timeouts": build_derived.timeouts(draft.timeouts),
            "connection_mode": draft.connection_mode,
            "log_targets": build_logs.log_targets(draft, self.global_draft, self.profiles),
            "errors": self._errors(draft, rules),
            "forwardfor": draft.forwardfor if http else None,
            "originalto": draft.originalto if http else None,
            "inspect_delay_s": draft.inspect_delay_s or None,
            "needs": rules.all_needs(),
            "fullconn": draft.fullconn or 0,
            "capabilities": {name: value for name, value in draft.settings.items() if name not in _CONSUMED},
            **steps,
        }
        return common, rules, context

    def _find(self, draft: ProxyDraft, kind: str, name: str) -> None:
        """Raise ValueError unless there is a proxy, server … called ``name`` ("": ``draft`` itself) for an expression in ``draft``."""
        if kind == "log-profile":
            build_logs.find_profile(self.profiles, name, draft.name)
        elif kind == "server":
            owner, _, server = name.rpartition("/")
            proxy = self.backends.get(owner) if owner else draft
            if proxy is None:
                raise ValueError(f"unable to find proxy '{owner}'")
            if all(s.name != server for s in proxy.servers):
                raise ValueError(f"unable to find server '{server}' in proxy '{proxy.name}'")
        elif not name:
            if not (draft.is_backend if kind == "backend" else draft.is_frontend):
                raise ValueError(f"proxy '{draft.name}' has not {kind} capability")
        elif name not in (self.backends if kind == "backend" else self.frontends):
            raise ValueError(f"unable to find {kind} '{name}'{_hint(name, self.backends if kind == 'backend' else self.frontends)}")

    def _errors(self, draft: ProxyDraft, rules: RuleSets) -> dict[int, ErrorReply]:
        replies: dict[int, ErrorReply] = {}
        for line, name, codes in draft.errorfiles:
            found = self.objects.get(f"http-errors/{name}")
            if found is None:
                names = [n[12:] for n in self.objects if n.startswith("http-errors/")]
                hint = did_you_mean(name, names)
                line.alert(f"unknown http-errors section '{name}'{'; ' + hint if hint else ''}.", line.kwlen)
                continue
            for status in codes or tuple(found):
                if status in found:
                    replies[status] = found[status]
        replies.update(draft.errors)
        replies.update(rules.errors)
        limit = self.global_draft.settings.get("bufsize_bytes", 16384)
        lines = draft.settings.get("errorfile-lines", {})
        for status, reply in draft.errors.items():
            if reply.raw is not None and len(reply.raw) > limit and status in lines:
                lines[status].alert(f"errorfile : the message is larger than a buffer ({len(reply.raw)} bytes, {limit} fit).", 2)
        return replies

    # -- backends -------------------------------------------------------------------------------------------------------------

    def _backend(self, draft: ProxyDraft, common: dict[str, Any], rules: RuleSets, context: RuleContext) -> Backend:
        checks = build_check(draft, common["timeouts"], context, self.global_draft)
        builder = ServerBuilder(draft, checks, self.states.of(draft))
        servers = builder.build()
        balance, needs = self._balance(draft, context)
        forwarded, more = compile_forwarded(draft.settings.get("forwarded") if draft.mode == "http" else None, context)
        names = {s.name for s in servers}
        for name, _, _, line in rules.use_server:
            if name and name not in names:
                line.alert(
                    f"{draft.label} '{draft.name}' : unable to find server '{name}' referenced in a 'use-server' rule."
                    f"{_hint(name, names)}", 1,
                )  # fmt: skip
        if draft.on("transparent") and (draft.dispatch is not None or draft.balance is not None):
            what = "dispatch" if draft.dispatch is not None else "balance"
            self.diag.alert(f"{draft.label} '{draft.name}' cannot use both transparent and {what} mode.")
        switches = {name for name, on in draft.options.items() if on and name not in FRONT_ONLY}
        if draft.mode == "http" and draft.options.get("abortonclose", True):
            switches.add("abortonclose")  # manual 4.2: the default of HTTP backends
        http = draft.mode == "http"
        return Backend(
            **{**common, "needs": common["needs"] | needs | more, "options": _usable(draft, switches)},
            servers=servers,
            check=checks,
            balance=balance,
            retries=3 if draft.retries is None else draft.retries,
            redispatch=draft.redispatch or 0,
            retry_on=draft.retry_on if draft.retry_on is not None and http else frozenset({"conn-failure"}),
            http_reuse=draft.http_reuse or "safe",
            allbackups=draft.on("allbackups"),
            cookie=build_derived.cookie(draft) if http else None,
            forwarded=forwarded,
            name_header=draft.settings.get("name-header", b"") if http else b"",
            rdp_cookie=b"" if http else draft.settings.get("rdp-cookie", b""),
            persist_rules=tuple(rules.persist),
            use_server=tuple((pred, name) for _, pred, name, _ in rules.use_server),
            stick=tuple(rules.stick),
        )

    def _balance(self, draft: ProxyDraft, context: RuleContext) -> tuple[Balance, Needs]:
        hash_type = draft.hash_type or ("map-based", "sdbm", "")
        made = Balance(
            algorithm="random",  # manual 4.2: when no other algorithm is set
            args=(2,),
            hash_method=hash_type[0],
            hash_function=hash_type[1],
            hash_modifier=hash_type[2],
            hash_balance_factor=draft.settings.get("hash-balance-factor", 0),
            hash_preserve_affinity=draft.settings.get("hash-preserve-affinity", "always"),
        )
        if draft.balance is not None:
            name, args = draft.balance.algorithm, draft.balance.args
            if draft.mode != "http" and name in HTTP_ALGORITHMS:
                self.diag.warning(
                    f"Layer 7 hash not possible for {draft.label} '{draft.name}' (needs 'mode http'). Falling back to round robin."
                )
                name, args = "roundrobin", ()
            made = replace(made, algorithm=name, args=args)
        needs = algorithms.needs(made)
        if made.algorithm == "hash" and draft.balance is not None:
            key, more = compile_key(draft.balance.rule, context)
            return replace(made, key=key), needs | more
        return made, needs

    # -- frontends ------------------------------------------------------------------------------------------------------------

    def _frontend(self, draft: ProxyDraft, common: dict[str, Any], rules: RuleSets, context: RuleContext) -> Frontend:
        log_format, error_format, log_needs = build_logs.log_format(draft, common["log_targets"], context, self.diag)
        sd_format, sd_needs = compile_format(draft.log_format_sd, context)
        unique_id, id_needs = compile_format(draft.unique_id_format, context, kind="http-req" if draft.speaks_http else "log")
        http = draft.speaks_http
        switches = {name for name, on in draft.options.items() if on and name not in BACK_ONLY}
        return Frontend(
            **{**common, "options": _usable(draft, switches), "needs": common["needs"] | id_needs},
            backlog=draft.backlog or 0,
            binds=build_binds(draft.binds, draft.mode, f"{draft.label} '{draft.name}'"),
            **self._switching(draft, rules),
            tcp_request_connection=rules.of("tcp-request connection"),
            tcp_request_session=rules.of("tcp-request session"),
            log_format=log_format,
            error_log_format=error_format,
            log_format_sd=sd_format,
            log_on_connect=not draft.log_format_kind and "log-steps" not in draft.settings,
            log_needs=log_needs | sd_needs,
            unique_id=unique_id,
            unique_id_header=(draft.unique_id_header or b"") if http else b"",
            monitor_uri=draft.monitor_uri if draft.mode == "http" else b"",
            monitor_fail=tuple(rules.conditions.get("monitor fail", ())),
            rate_limit_sessions=draft.rate_limit_sessions,
            capture_request=tuple(draft.capture_request) if http else (),
            capture_response=tuple(draft.capture_response) if http else (),
            capture_cookie=draft.capture_cookie if http else None,
        )

    def _default_backend(self, draft: ProxyDraft) -> str:
        rule = draft.default_backend
        if rule is None:
            return draft.name if draft.is_backend else ""
        name = rule.line.words[rule.start]
        self._reachable(draft, name, rule.line, rule.start, "default_backend")
        return name

    def _switching(self, draft: ProxyDraft, rules: RuleSets) -> dict[str, Any]:
        default = self._default_backend(draft)
        maxconn = draft.maxconn or self.options.proxy_maxconn or self.global_draft.settings.get("maxconn", 0)
        for target in () if draft.disabled else {default, *(choice.target for choice, _ in rules.use_backend)}:
            self.leading[target] = self.leading.get(target, 0) + maxconn
        for choice, line in rules.use_backend:
            if choice.target:
                self._reachable(draft, choice.target, line, 1, "use_backend")
        return {"maxconn": maxconn, "default_backend": default, **switching(rules)}

    def _reachable(self, draft: ProxyDraft, name: str, line: Any, index: int, what: str) -> None:
        """Alert when ``name`` is no backend that ``draft`` can send to."""
        if draft.disabled:
            return
        target = self.backends.get(name)
        if target is None:
            line.alert(f"Proxy '{draft.name}': unable to find required {what}: '{name}'.{_hint(name, self.backends)}", index)
        elif target is draft:
            line.alert(f"Proxy '{draft.name}': loop detected for {what}: '{name}'.", index)
        elif draft.mode == "http" and target.mode != "http":
            how = "as its default backend" if what == "default_backend" else "in a 'use_backend' rule"
            line.alert(
                f"http frontend '{draft.name}' ({draft.place}) tries to use incompatible {target.mode} backend '{target.name}' "
                f"({target.place}) {how} (see 'mode').", index,
            )  # fmt: skip

    # -- what HAProxy warns of ------------------------------------------------------------------------------------------------

    def _warnings(self, draft: ProxyDraft) -> None:
        warn, label, name = self.diag.warning, draft.label, draft.name
        timeouts = draft.timeouts
        incomplete = draft.is_frontend and not timeouts.get("client_s")
        if draft.is_backend and draft.servers:
            silent = not timeouts.get("server_s") and (draft.mode == "http" or not timeouts.get("tunnel_s"))
            incomplete = incomplete or silent or not timeouts.get("connect_s")
        if draft.kind == "frontend" and not draft.binds:
            warn(f"{label} '{name}' has no 'bind' directive. Please declare it as a backend if this was intended.")
        if incomplete:
            warn(
                f"missing timeouts for {label} '{name}'.\n"
                "While not properly invalid, you will certainly encounter various problems\n"
                "with such a configuration. To fix this, please ensure that all following\n"
                "timeouts are set to a non-zero value: 'client', 'connect', 'server'."
            )
        if draft.mode == "http":
            return
        if "cookie" in draft.settings and draft.is_backend:
            warn(f"cookie will be ignored for {label} '{name}' (needs 'mode http').")
        if draft.monitor_uri and draft.is_frontend:
            warn(f"monitor-uri will be ignored for {label} '{name}' (needs 'mode http').")
        if draft.speaks_http:
            return
        if draft.capture_cookie:
            warn(f"'capture' statement ignored for {label} '{name}' as it requires HTTP mode.")
        kinds = {rule.kind for rule in draft.rules}
        for kind in HTTP_KINDS:
            if kind in kinds:
                warn(f"'{kind}' rules ignored for {label} '{name}' as they require HTTP mode.")
        wanted = [option for option in ("forwardfor", "originalto") if getattr(draft, option) is not None]
        wanted += ["forwarded"] if draft.settings.get("forwarded") is not None else []
        sides = (FRONT_ONLY if draft.kind == "backend" else frozenset()) | (BACK_ONLY if draft.kind == "frontend" else frozenset())
        wanted += sorted(option for option, on in draft.options.items() if on and option in HTTP_ONLY and option not in sides)
        for option in wanted:
            warn(f"'option {option}' ignored for {label} '{name}' as it requires HTTP mode.")


class _Known(Mapping[str, Any]):
    """``known.names`` as the table that rules ask, read on the first question only."""

    def __getitem__(self, kind: str) -> frozenset[str]:
        if kind == "acl":  # a criterion is a fetch, too
            return known.names("acl") | known.names("fetch")
        if kind == "action":
            return frozenset().union(*(known.names(f"action {rule_set}") for rule_set in KINDS))
        return known.names(kind)

    def __iter__(self) -> Any:
        return iter(("fetch", "converter", "acl", "action"))

    def __len__(self) -> int:
        return 4


def _traced(proxies: Sequence[ProxyDraft], objects: Mapping[str, Any]) -> bool:
    """Whether a rule or a format asks by which rule a stream ended, or for which one it waits."""
    rules = [rule for d in proxies for rule in (*d.rules, d.log_format, d.error_log_format, d.log_format_sd, d.unique_id_format)]
    for profile in (made for name, made in objects.items() if name.startswith("log-profile/")):
        for change in profile.changes.values():
            rules += [change.format, change.sd]
    return any("last_rule_" in word or "_entity" in word for rule in rules if rule is not None for word in rule.line.words)


def _hint(name: str, names: Iterable[str]) -> str:
    near = did_you_mean(name, names)
    return f" ({near.rstrip(' ?')}?)" if near else ""


def _usable(draft: ProxyDraft, switches: set[str]) -> frozenset[str]:
    return frozenset(switches if draft.speaks_http else switches - HTTP_ONLY)


def _cli_binds(drafts: Iterable[Any]) -> tuple[Bind, ...]:
    return build_binds(list(drafts))
