"""The tables and the way to reach them."""
