"""Everything the gateway keeps in Redis."""
