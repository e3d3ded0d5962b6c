"""Real servers as child processes, for quickstart, for development, for the tests."""
