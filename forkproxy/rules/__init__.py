"""rules: sample expressions, ACLs, conditions, rules, variables and log formats, compiled to closures when the file is read.

The way of a text: ``words`` (a cursor) → ``expr`` (fetch, casts of ``types``, converters) → ``acl`` + ``patterns`` → ``conditions`` →
``ruleset`` (an ``action`` with its condition as one step); ``logformat`` renders texts. ``context`` is what reading may know of the
section around it, ``txn`` all that running may know of the stream, ``world`` of the rest of the service. What can be named in a
configuration lives in ``fetches/``, ``converters/`` and ``actions/``; ``library`` imports it all.
"""
