"""Preflight: pure functions from facts and settings to findings."""
