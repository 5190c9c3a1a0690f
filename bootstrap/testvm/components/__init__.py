"""Components built from source: a signed apt repository and an image registry under upstream names."""

from __future__ import annotations

from bootstrap.testvm.components.builder import build, component_names
from bootstrap.testvm.components.mirror import Mirror, current, trim
from bootstrap.testvm.components.parts import Progress

__all__ = ["Mirror", "Progress", "build", "component_names", "current", "trim"]
