"""Fetches by layer: one function with ``@fetch`` each, which returns ``fetch(txn) -> value | None`` (or ``Const``, ``Multi``)."""
