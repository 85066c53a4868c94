"""health: what a health check says to a server and what its answers mean, without any I/O.

``status.py`` the check statuses, ``machine.py`` the rise/fall automaton, ``conversation.py`` the promise of one exchange, ``sequence.py``
the engine behind all that is more than a connection, ``scope.py`` what expressions of checks see, ``board.py`` what is known of every
server, ``reports.py`` the words for logs, and one file per kind of check, each registered with ``registry.check``. The sockets are the
master's (``master/health_runner.py``).

The factory of a kind is called once per server: ``factory(check: plan.Check) -> Program``; ``Program.begin(about) -> Conversation``
once per check. What ``config`` writes into ``plan.Check.steps`` for ``tcp-check`` and ``http-check`` rules:

``CheckStep(kind="connect")``  args ``port`` (int, or an expression), ``address``, ``send_proxy``, ``linger``, ``default``, all optional.
``CheckStep(kind="send")``     see ``tcp.py``; in HTTP ``method``, ``uri``, ``version``, ``headers``, ``body``, all optional texts; uri,
                               body and values of headers may be render functions; what is missing comes from ``check.options``.
``CheckStep(kind="expect")``   ``match``, ``pattern``, ``negate``, ``min_recv``, ``ok_status``, ``error_status``, ``tout_status`` (names as
                               L7OK), ``on_success``, ``on_error`` (render functions), ``status_code`` (an expression). For hdr and fhdr
                               instead of ``pattern``: ``name`` and optional ``value``, each a pair (method, text or render function).
``CheckStep(kind="set-var")``  and "unset-var": ``step``, called with the scope. ``kind="comment"``: its ``comment`` is said when the next
                               rule fails. A wrong pattern makes the factory raise ValueError with the reason.
``Check.options``              of ``option httpchk``: ``method`` ("OPTIONS"), ``uri`` ("/"), ``version`` ("HTTP/1.0"), ``headers``,
                               ``body``; of ``smtpchk`` ``hello``; of ``mysql-check`` ``user`` and ``client``, of ``pgsql-check`` ``user``.
"""
