"""Who learns: recipes (what to learn from, and the loss), and the engines that run them.

Add a recipe: a file here, and a line in the table.

    from stepgym.trainers import losses      # pure functions of tensors
    from stepgym.trainers import TrainConfig, train
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepgym.lazy import exports
from stepgym.registry import Registry

if TYPE_CHECKING:
    from stepgym.trainers.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from stepgym.trainers.config import ModelConfig, TrainConfig
    from stepgym.trainers.curriculum import read_curriculum, run_curriculum
    from stepgym.trainers.engine import Training, train
    from stepgym.trainers.policy import CheckpointPolicy, LocalPolicy
    from stepgym.trainers.recipe import Group, Loss, Material, Recipe, Source
    from stepgym.trainers.samples import Sample, to_samples
    from stepgym.trainers.transformers_policy import TransformersPolicy

RECIPES: Registry[Recipe] = Registry(
    "recipe",
    {
        "sft": "stepgym.trainers.sft:SFT",
        "grpo": "stepgym.trainers.grpo:GRPO",
        "ppo": "stepgym.trainers.ppo:PPO",
        "srl": "stepgym.trainers.srl:SRL",
        "holistic": "stepgym.trainers.srl:Holistic",
        "guide-grpo": "stepgym.trainers.guide:GuideGRPO",
        "guide-ppo": "stepgym.trainers.guide_ppo:GuidePPO",
        "a2d-decomposer": "stepgym.trainers.a2d:Decomposer",
        "a2d-reasoner": "stepgym.trainers.a2d:Reasoner",
    },
)

__getattr__ = exports(
    __name__,
    {
        "Checkpoint": "stepgym.trainers.checkpoint",
        "CheckpointPolicy": "stepgym.trainers.policy",
        "Group": "stepgym.trainers.recipe",
        "LocalPolicy": "stepgym.trainers.policy",
        "Loss": "stepgym.trainers.recipe",
        "Material": "stepgym.trainers.recipe",
        "ModelConfig": "stepgym.trainers.config",
        "Recipe": "stepgym.trainers.recipe",
        "Sample": "stepgym.trainers.samples",
        "Source": "stepgym.trainers.recipe",
        "TrainConfig": "stepgym.trainers.config",
        "Training": "stepgym.trainers.engine",
        "TransformersPolicy": "stepgym.trainers.transformers_policy",
        "load_checkpoint": "stepgym.trainers.checkpoint",
        "save_checkpoint": "stepgym.trainers.checkpoint",
        "to_samples": "stepgym.trainers.samples",
        "read_curriculum": "stepgym.trainers.curriculum",
        "run_curriculum": "stepgym.trainers.curriculum",
        "train": "stepgym.trainers.engine",
    },
)

__all__ = [
    "RECIPES",
    "Checkpoint",
    "CheckpointPolicy",
    "Group",
    "LocalPolicy",
    "Loss",
    "Material",
    "ModelConfig",
    "Recipe",
    "Sample",
    "Source",
    "TrainConfig",
    "Training",
    "TransformersPolicy",
    "load_checkpoint",
    "read_curriculum",
    "run_curriculum",
    "save_checkpoint",
    "to_samples",
    "train",
]
