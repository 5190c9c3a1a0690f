"""A double of the W&B API for W&B Launch: see README.md beside this file."""

from __future__ import annotations

from tests.doubles.wandb_api.running_double import Double, running

__all__ = ["Double", "running"]
