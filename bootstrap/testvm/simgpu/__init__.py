"""Simulated GPUs for lab hosts: hardware below the driver, and driver packages that find it."""
