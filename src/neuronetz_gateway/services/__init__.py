"""What the gateway does, free of HTTP."""
