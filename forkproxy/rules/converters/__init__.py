"""Converters by topic: one function with ``@converter`` each, which returns ``Pure(convert)`` or ``convert(value, txn)``."""
