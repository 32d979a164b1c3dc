"""Ray, where it is installed, and how much of a cluster a command takes."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from kdet.errors import KdetError, short, suggest

KEYS = ("workers", "gpus", "cpus", "retries")
ADVICE = "is written as workers=4,gpus=1"


class Workers(NamedTuple):
    """What ``--ray`` asks for.

    Attributes:
        workers: processes.
        gpus: GPUs of each; a share such as 0.5 where several share one.
        cpus: CPUs of each.
        retries: how often a training run starts again after a worker was lost.
    """

    workers: int = 1
    gpus: float = 0.0
    cpus: float = 1.0
    retries: int = 3

    @classmethod
    def parse(cls, text: str) -> "Workers":
        """Read ``workers=4,gpus=1``.

        Raises:
            KdetError: an unknown key, or a value that is no number or out of range.
        """
        found: dict[str, Any] = {}
        for part in filter(None, text.split(",")):
            key, _, value = part.partition("=")
            if key not in KEYS:
                raise KdetError(f"--ray {ADVICE}; {key!r} is unknown. {suggest(key, KEYS)}")
            kind, least = (int, key == "workers") if key in ("workers", "retries") else (float, 0)
            try:
                number = kind(value)
            except ValueError as error:
                raise KdetError(f"--ray {ADVICE}; {key} must be a number, got {short(value)}.") from error
            if not least <= number < 1e6:
                raise KdetError(f"--ray {ADVICE}; {key} is {number}, out of range.")
            found[key] = number
        return cls(**found)


def library() -> Any:
    """The package ``ray``.

    Raises:
        KdetError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise KdetError('This needs Ray, which is not installed: pip install "kdet[ray]".') from error
    return ray


@contextlib.contextmanager
def started() -> Iterator[None]:
    """A connection to the cluster that ``RAY_ADDRESS`` names, else a cluster on this machine; left as it was.

    Raises:
        KdetError: Ray is not installed, or no cluster answers at that address.
    """
    ray = library()
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    try:
        ray.init(log_to_driver=False, logging_level=logging.WARNING, configure_logging=True)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise KdetError(f"No Ray cluster answers at {address or 'this machine'}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()
