"""Targets of fuzzing, one file a target."""
