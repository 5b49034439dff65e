"""The cluster engine: recipes on OpenRLHF, with Ray, vLLM and DeepSpeed.

`engine` is what `stepgym train` sees: it looks whether the run can work (`preflight`) and watches over a process that
runs OpenRLHF's own command (`launch`). There OpenRLHF keeps its flow, and what is ours are thin subclasses of its
classes (`classes`), by the process that they are in:

- `rollouts`: its rollout actor plays episodes of an environment, and answers with trajectories;
- `controller`: its samples generator is the recipe's `gather` over a `Source` that asks those actors, and its
  experience maker hands on what the recipe decided;
- `learning`: its replay buffer and losses are the recipe's minibatches and losses.

Nothing here is imported by the local engine but `config`.
"""
