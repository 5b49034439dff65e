"""Settings of recipes that must lie in a range."""

from __future__ import annotations

import math

from stepgym.errors import ConfigError


def check_range(
    settings: object, *names: str, least: float = -math.inf, above: float = -math.inf, most: float = math.inf
) -> None:
    """Raise `ConfigError` for the first of `names` that is not a finite number from `least` (or `above`) to `most`."""
    bounds = (("at least", least), ("above", above), ("at most", most))
    wanted = " and ".join(f"{word} {bound:g}" for word, bound in bounds if math.isfinite(bound)) or "a finite number"
    for name in names:
        value: float = getattr(settings, name)
        if not (math.isfinite(value) and least <= value <= most and value > above):
            raise ConfigError(f"{name} must be {wanted}, not {value}")
