"""Values and rules of the gateway, known to the standard library alone."""
