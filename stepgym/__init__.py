"""Math and software-engineering tasks as Gymnasium environments for language agents.

Importing this is light (no gymnasium, no torch) and makes every environment known to Gymnasium, whichever of the two is
imported first:

    import gymnasium as gym, stepgym
    env = gym.make("stepgym/Math-v0", tasks="aime24")
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from stepgym.lazy import exports
from stepgym.registration import env_ids, register_envs

if TYPE_CHECKING:
    from stepgym.records import Attempt, Message, Reply, Role, Score, Status, Step, Stop, Task, Trajectory, Usage

__version__ = "0.1.0"

__all__ = [
    "Attempt",
    "Message",
    "Reply",
    "Role",
    "Score",
    "Status",
    "Step",
    "Stop",
    "Task",
    "Trajectory",
    "Usage",
    "__version__",
    "env_ids",
]

__getattr__ = exports(__name__, {name: "stepgym.records" for name in __all__ if name[0].isupper()})

if find_spec("stepgym.tasks") is None:  # Python looks in its own folder first, and there is a part of us
    raise ImportError(
        "in the root of stepgym's source tree Python finds the folder stepgym/ instead of the installed package; "
        "work in another folder, or install with: pip install --editable ."
    )

register_envs()
