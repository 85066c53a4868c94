"""config: text to Plan. Everything that can be known when the file is read is decided here; workers never import it.

The way of a line: ``reader`` (files, directories, -f order) → ``lexer`` (quotes, escapes, comments, environment: words with
columns) → ``conditions`` (.if …) → ``sections`` (which section a line belongs to) → ``keywords/<section>`` (one function per
keyword, found in ``registry.KEYWORDS`` by (section, name)) writes into a draft → ``drafts`` (mutable twins of the plan's
values) → ``build`` (semantic checks, name resolution, timeouts' fall-backs) → ``plan.Plan``.

Contract of the pieces (one writer each, everybody reads):

``line.py``   ``Line``: one logical line. Attributes ``file, number, section, words: list[str], columns: list[int], source: str``.
              ``fail(message, index=0, hint="")`` raises ConfigError with place and mark; ``warn(message, index=0)`` and
              ``note(message)`` append to ``line.diag`` (``diagnostics.Diagnostics``, which collects alerts, warnings, notes and
              prints them in HAProxy's form). After ``fail`` of one line reading goes on with the next one: all errors in one run.
``units.py``  ``parse_time(text, default_unit) -> float seconds``, ``parse_size(text) -> int`` (ValueError with HAProxy's reason;
              overflow is an error).
``address.py`` ``parse_address(text, *, default_port, allow_range, dgram) -> list[plan.Address]``.
``args.py``   argument parsers used in ``@keyword(args=(…))``: ``Word() Int(lo, hi) Time("ms") Size() OneOf(*words) Rest()
              Opt(parser, default) Sample() Condition()``; ``apply(spec, line) -> tuple of values`` or fails with
              "'<keyword>' expects …". ``Rest()`` gives the remaining words' start index.
``drafts.py`` ``GlobalDraft``, ``ProxyDraft`` (name, kind, caps, place, options, timeouts, rules, servers, binds, …), ``ServerDraft``,
              ``BindDraft``: plain mutable slotted classes. ``ProxyDraft.inherit(defaults)`` copies what a defaults section gives.
``keywords/<section>.py``
              ``@keyword(("frontend", "listen"), "maxconn", args=(Int(0, 2**31 - 1),)) def maxconn(draft, line, value): …``.
              "no option x", "option x" and "timeout x" are keywords of two words: ("defaults", "option http-server-close"),
              ("defaults", "timeout client"). The dispatcher looks for the longest match of the first words, and sets
              ``line.negated`` (and drops the word) for a leading "no" and ``line.default`` for a leading "default".
``known.py``  the names that HAProxy registers (a data file made from its list) so that "known to HAProxy, not supported by
              forkproxy" and "did you mean" work.
``load.py``   ``load(files, options) -> Result(plan | None, diagnostics)``: the one entrance.
"""
