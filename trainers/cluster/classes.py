"""Our subclasses, where OpenRLHF looks its classes up."""

from __future__ import annotations


def put_in_place(*, asynchronous: bool) -> None:
    """Before ``openrlhf.cli.train_ppo_ray`` is imported, which takes them from these modules."""
    import openrlhf.trainer.ray.ppo_actor as actor
    import openrlhf.trainer.ray.ppo_critic as critic
    import openrlhf.trainer.ray.vllm_engine as engine
    import ray

    from stepgym.trainers.cluster.learning.critic_actor import RecipeCriticActor
    from stepgym.trainers.cluster.learning.policy_actor import RecipePolicyActor
    from stepgym.trainers.cluster.rollouts.rollout_actor import RolloutActor

    engine.RolloutRayActor = ray.remote(RolloutActor)
    actor.PolicyModelActor = ray.remote(num_gpus=1)(RecipePolicyActor)
    critic.CriticModelActor = ray.remote(num_gpus=1)(RecipeCriticActor)
    if asynchronous:
        import openrlhf.trainer.ppo_trainer_async as in_parallel

        from stepgym.trainers.cluster.controller.async_trainer import RecipeTrainerAsync

        in_parallel.PPOTrainerAsync = ray.remote(RecipeTrainerAsync)
    else:
        import openrlhf.trainer.ppo_trainer as in_turns

        from stepgym.trainers.cluster.controller.trainer import RecipeTrainer

        in_turns.PPOTrainer = ray.remote(RecipeTrainer)
