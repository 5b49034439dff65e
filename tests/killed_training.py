"""Trains one stage after the other, and kills itself at a moment that is the same every time.

    python killed_training.py EVENT NAME COUNT STAGE...

It is killed when Python announces the EVENT (PEP 578) about something whose name contains NAME, the COUNT-th time. A
STAGE is a `TrainConfig` as JSON.
"""

import json
import os
import signal
import sys

from stepgym.codec import decode
from stepgym.trainers import TrainConfig, train

EVENT, NAME, COUNT, *STAGES = sys.argv[1:]
seen: list[str] = []


def hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == EVENT and any(NAME in str(argument) for argument in arguments):
        seen.append(event)
        if len(seen) == int(COUNT):
            os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(hook)
for stage in STAGES:
    train(decode(TrainConfig, json.loads(stage)))
