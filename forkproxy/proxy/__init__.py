"""proxy: streams. Joins plan, rules, balance, net and http into traffic; knows nothing of configuration text or processes.

The way of a request, one direction: ``listener`` accepts → ``client`` reads a head → ``request`` runs the frontend's rules, chooses the
backend, runs its rules → ``dispatch`` picks a server and a connection (``pool``, else dial) → ``upstream`` sends it and reads the
answer's head → ``response`` runs the response rules and sends it on → ``flow`` moves bodies (copy or splice) → ``finish`` counts, logs,
and puts both connections where they belong. TCP mode: ``listener`` → ``tcp`` → ``dispatch`` → ``relay``. Failures anywhere are values of
``errors.ERRORS`` and end in ``finish.fail``.

``frontend`` and ``backend`` hold the run-time twins of frontends, backends and servers; ``runtime`` owns them all for one worker.
"""
