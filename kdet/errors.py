"""The errors that kdet raises about what a user gives: files, keys and arguments.

All are :class:`KdetError`, and a ``ValueError`` besides, so that ``except ValueError`` keeps working. The
message is one sentence (or one per fault) that names the thing, its value, where it stands and what to do.
What is missing on disk is :class:`MissingFile`, which is a ``FileNotFoundError`` too.
"""

import difflib
import reprlib
from collections.abc import Iterable

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 160
_SHORT.maxlevel, _SHORT.maxlong = 3, 40


class KdetError(ValueError):
    """Something that a user gave cannot be used."""


class DataError(KdetError):
    """An annotation, an image, a record or a proposal cannot be used."""


class MissingFile(DataError, FileNotFoundError):
    """A file or folder that was named does not exist."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ConfigError(KdetError):
    """A recipe says something that kdet does not understand; the message names file and key path."""


class CheckpointError(KdetError):
    """A file that is no checkpoint, is damaged, or holds what kdet refuses to read."""


class WriteError(KdetError):
    """A file cannot be written: the disk is full or fails, or the folder may not be written to."""


class Stopped(KeyboardInterrupt):
    """A signal, or the loss of a worker, ended a run, which can be resumed.

    Attributes:
        signal: its name, as in ``SIGTERM``; "WORKER" where another worker is gone.
    """

    def __init__(self, sentence: str, signal: str) -> None:
        super().__init__(sentence)
        self.signal = signal


def short(value: object) -> str:
    """``repr`` of a value that a file holds, for a message: bounded, whatever the value is."""
    return _SHORT.repr(value)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its class where it has none."""
    # TensorFlow's errors say more in `message` than in their text
    lines = str(getattr(error, "message", error)).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def suggest(wanted: object, known: Iterable[object]) -> str:
    """A sentence with the nearest of the ``known`` names, or with all of them when none is near."""
    names = [str(k) for k in known]
    near = difflib.get_close_matches(str(wanted), names, n=3)
    if near:
        return f"Did you mean {' or '.join(map(repr, near))}?"
    return f"Known: {', '.join(names[:20])}{' ...' if len(names) > 20 else ''}." if names else ""
