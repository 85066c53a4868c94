"""health: what a health check says to a server and what its answers mean, without any I/O.

``status.py`` the check statuses, ``machine.py`` the rise/fall automaton, ``conversation.py`` the promise of one exchange,
``reports.py`` the words for logs,
and one file per kind of check (``tcp.py``, ``http.py``), each registered with ``registry.check``. The sockets are the master's
(``master/health_runner.py``).

The factory of a kind is called once per server: ``factory(check: plan.Check) -> Program``; ``Program.begin(state) -> Conversation``
once per check.
What ``config`` writes into a ``plan.Check`` for the kind "http" (all of it text as in the file, unquoted):

``check.options``  of ``option httpchk``: ``method`` ("OPTIONS"), ``uri`` ("/"), ``version`` ("HTTP/1.0"), ``headers`` (tuple of (name,
value)), ``body``. All optional.
``CheckStep("connect", {...})``  ``port`` (int), ``address`` (plan.Address), ``send_proxy`` (bool), all optional.
``CheckStep("send", {...})``     ``method``, ``uri``, ``version``, ``headers``, ``body``, all optional; what is missing comes from
``check.options``.
``CheckStep("expect", {...})``   ``match`` ("status", "rstatus", "string", "rstring", "hdr", "fhdr"), ``pattern`` (text), ``negate``
(bool), optional ``min_recv`` (int),
                                 ``ok_status``, ``error_status``, ``tout_status`` (names as L7OK). For hdr and fhdr instead of
                                 ``pattern``: ``name`` and optional ``value``, each
                                 a pair (method, text), method one of str beg end sub reg.
``CheckStep.comment``            the comment of the rule. A wrong pattern makes the factory raise ValueError with the reason.
"""
