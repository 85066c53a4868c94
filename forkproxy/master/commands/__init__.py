"""Commands of the runtime CLI: one file per command (or family), each registered by ``registry.command``."""
