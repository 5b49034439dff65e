"""Writes the record of a test run (`stepgym.rewards.swe.record`) from beside the tests.

This file is put into sandboxes and run by the repository's own Python, so it imports the standard library alone and
keeps to what Python 3.6 has.
"""

import hashlib
import hmac
import json
import os


class Recorder:
    """Signs and writes one line at a time. Only the process that made it writes; its forks are silent."""

    def __init__(self, descriptor: int, key: bytes) -> None:
        self._descriptor = descriptor
        self._key = key
        self._number = 0
        self._process = os.getpid()

    def write(self, test: str, phase: str, outcome: str = "") -> None:
        """Record what became of a phase of a test; the names are those of `record.Phase` and `record.Outcome`."""
        if os.getpid() != self._process:
            return
        payload = json.dumps([self._number, test, phase, outcome]).encode()
        signature = hmac.new(self._key, payload, hashlib.sha256).hexdigest().encode()
        self._key = hashlib.sha256(self._key).digest()
        self._number += 1
        line = signature + b" " + payload + b"\n"
        while line:
            line = line[os.write(self._descriptor, line) :]

    def seal(self, exit_code: int) -> None:
        """Record that the run has come to its end; nothing is read after it."""
        self.write("", "end", str(exit_code))
