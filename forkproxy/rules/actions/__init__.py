"""Actions: one function with ``@action`` each, which reads its words from a ``Parser`` and returns ``step(txn) -> Verdict | None``."""
