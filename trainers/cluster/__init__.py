"""The cluster engine: recipes on OpenRLHF, with Ray, vLLM and DeepSpeed.

OpenRLHF keeps its own flow; what is ours are thin subclasses of its classes:

- its rollout actor plays episodes of an environment (`rollout_actor`), and answers with trajectories;
- its samples generator is the recipe's `gather` over a `Source` that asks those actors (`source`);
- its experience maker hands on what the recipe decided (`experience`);
- its replay buffer and losses are the recipe's minibatches and losses (`replay_buffer`, `policy_loss`, `value_loss`).

Nothing here is imported by the local engine but `config`.
"""
