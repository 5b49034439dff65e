"""The parts of Guide's rule that can be exchanged."""

from __future__ import annotations

from enum import StrEnum


class Correction(StrEnum):
    """In which context a hinted attempt is trained, and what its ratio's denominator is."""

    HINTED = "hinted"
    """Trained without the hint; the denominator is the probability with it (Guide)."""
    NONE = "none"
    """Trained without the hint, as if sampled without it: the ratio begins at 1."""
    ON_HINT = "on-hint"
    """Trained with the hint, on-policy."""


class Shaping(StrEnum):
    """What is made of the ratio of a hinted attempt's tokens."""

    QUANTILE = "quantile"
    """ρ / (ρ + γ), where γ is the `gamma`-quantile of the sequence's ratios (the released settings)."""
    CONSTANT = "constant"
    """ρ / (ρ + `gamma`)."""
    CLIP = "clip"
    """Clipped as all others are."""
