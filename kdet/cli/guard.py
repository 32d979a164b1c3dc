"""How a command ends when something is wrong: one sentence and an exit code, no stack unless ``--debug``.

| exit code | meaning |
|-|-|
| 0 | done |
| 1 | a fault of kdet (``--debug`` shows where) |
| 2 | something that the user gave: a file, a key, an argument, the machine (a full disk, no memory) |
| 130 | ended by Ctrl-C |
"""

import contextlib
import sys

import tensorflow as tf

from kdet.data import faults
from kdet.errors import first_line


def add_debug(parser):
    """Adds ``--debug`` to an ``argparse`` parser."""
    parser.add_argument("--debug", action="store_true", help="show the whole stack of an error")


@contextlib.contextmanager
def guard(command, debug=False, spelled=str):
    """Inside, errors end the program with a sentence on standard error.

    Args:
        command: name of the command, which the sentence starts with.
        debug: let errors through.
        spelled: from an error's text to the text that is shown.
    """
    try:
        yield
    except KeyboardInterrupt:
        if debug:
            raise
        raise _ending(command, "stopped by Ctrl-C.", 130) from None
    except Exception as error:
        if debug:
            raise
        text, code = explain(error)
        raise _ending(command, spelled(text), code) from error


def explain(error):
    """``(sentence, exit code)`` for any error."""
    if isinstance(error, tf.errors.OpError):
        error = faults.original(error) or error
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return f"there is not enough memory or disk space: {first_line(error)}", 2
    if isinstance(error, MemoryError):
        return f"there is not enough memory{': ' if str(error) else ''}{error}.", 2
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}.", 2
    # what kdet checks itself, and what libraries say of files and arguments; all else is a fault of kdet
    if isinstance(error, (ValueError, OSError, ImportError, FloatingPointError, RuntimeError)):
        return str(error) or type(error).__name__, 2
    text = f"an error that kdet does not explain: {type(error).__name__}: {first_line(error)}"
    return f"{text} (--debug shows where; please report it).", 1


def _ending(command, text, code):
    message = f"{command}: {text}"
    print(message, file=sys.stderr)
    ending = SystemExit(message)
    ending.code = code
    return ending
