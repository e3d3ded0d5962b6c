"""The pages for people: what this gateway is, a playground to try a key in."""
