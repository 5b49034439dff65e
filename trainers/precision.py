"""The precision of matrix products: float32, or bfloat16 over float32 weights."""

from __future__ import annotations

import torch

from stepgym.trainers.config import Precision


def casting(device: str, precision: Precision) -> torch.autocast:
    """In its scope, matrix products run in `precision`, and what is summed or normalised stays in float32.

    Mixed precision with float32 master weights (Micikevicius et al. 2018, arXiv 1710.03740; bfloat16 needs no loss
    scaling, Kalamkar et al. 2019, arXiv 1905.12322). Updates of the size of reinforcement learning's, about 1e-6, would
    be lost in weights of 8 significant bits. Not to be entered again before it is left.
    """
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
