"""The hop to the model server."""
