"""The class that a Ray actor class was made of."""

from __future__ import annotations

from typing import Any


def plain(remote_class: Any) -> Any:
    """The class under ``ray.remote``, to be inherited from.

    `ray.remote` makes a copy of the class whose inherited methods are copies too, and their ``super()`` names another
    class than the one that is inherited from.
    """
    return remote_class.__ray_metadata__.modified_class.__ray_actor_class__
