"""On a run's `PYTHONPATH`: writes down every row that reaches the loss of the cluster engine, as it reaches it.

Python imports a module of this name by itself at the start of every process of a run. The rows go to the folder that
``STEPGYM_SPIED`` names.
"""

import importlib.machinery
import os
import sys
import uuid

SPIED = "stepgym.trainers.cluster.learning.policy_actor"


class Finder:
    """Finds one module where Python does, with a loader that changes it."""

    def find_spec(self, name, path=None, target=None):
        if name != SPIED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def load_changed(module):
            load(module)
            read = module.token_batch

            def spying(experience, weights):
                batch = read(experience, weights)
                write(experience, batch)
                return batch

            module.token_batch = spying

        spec.loader.exec_module = load_changed
        return spec


def write(experience, batch):
    import torch

    rows = {
        "sequences": experience.sequences,
        "attention_mask": experience.attention_mask,
        "action_mask": experience.action_mask,
        "old_logprobs": batch.old_logprobs,
        "rows": batch.rows,
        "off_policy": batch.off_policy,
        "terms": batch.terms,
    }
    torch.save(rows, os.path.join(os.environ["STEPGYM_SPIED"], f"{uuid.uuid1().hex}.pt"))


if os.environ.get("STEPGYM_SPIED"):
    sys.meta_path.insert(0, Finder())
