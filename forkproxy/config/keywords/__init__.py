"""keywords: one function per configuration keyword, registered with ``@keyword``; its docstring is its entry in the reference.

One file per section or topic: ``global_`` and ``global_tune``, ``proxy`` (values), ``options``, ``timeouts``, ``rules``, ``balance``,
``checks``, ``bind``, ``server`` … ``caps`` holds what they share. A keyword reads its words and writes into a draft; resolving names
and checking
what belongs together is the business of ``build``.
"""
