"""The steps of the chain, one file a step."""
