"""Runs the steps of a plan: the only part that changes hosts."""
