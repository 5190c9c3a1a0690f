"""Corpora of what hosts, files and servers may say: a share runs with the unit tests, all of it by `make fuzz`."""
