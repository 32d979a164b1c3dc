"""The command ``kdet``: everything that a user does from a shell.

Each module here is one command: ``HELP`` (a line), ``add_arguments(parser)`` and ``run(options)``.
``tools/*.py`` call the same commands.
"""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import shtab

from kdet.cli.explain import explain
from kdet.errors import Stopped
from kdet.quiet import startup

COMMANDS = (
    "train", "test", "analyze", "predict", "export", "serve-config", "convert", "dataset", "anchors",
    "browse", "demo", "zoo",
    "doctor",
)  # fmt: skip
INTERRUPTED = 130
RESTART = 75  # EX_TEMPFAIL: a scheduler may start the same command again, with --resume


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what stands behind ``kdet`` on the command line; default that of this process.

    Returns:
        The exit code: 0, 2 for input that cannot be used (one line on the standard error says what and why),
        1 for a fault of kdet, 130 after Ctrl-C, 75 when another signal or the loss of a worker ended a
        training run, which can be resumed.
    """
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    if not options.verbose:
        quiet()
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, as in `| head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python reports it at its end
    except Stopped as error:
        print(f"kdet {options.command}: {error}", file=sys.stderr)
        if error.signal == "WORKER":  # TensorFlow would wait for the worker that is gone
            sys.stderr.flush()
            os._exit(RESTART)
        return INTERRUPTED if error.signal == "SIGINT" else RESTART
    except KeyboardInterrupt:
        print(f"kdet {options.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if options.debug:
            raise
        text, code = explain(error)
        # a file name may hold bytes that are no text
        print(f"kdet {options.command}: {text.encode(errors='backslashreplace').decode()}", file=sys.stderr)
        return code
    return 0


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, as all other errors of a command are said."""

    def error(self, message: str) -> NoReturn:
        text = message.rstrip(".").encode(errors="backslashreplace").decode()
        self.exit(2, f"{self.prog}: {text}; {self.prog} --help shows what it takes.\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    from kdet import __version__

    top = Parser(prog="kdet", description="Object detection with Keras 3 and TensorFlow.")
    top.add_argument("--version", action="version", version=f"kdet {__version__}")
    shtab.add_argument_to(top, "--print-completion", help="print the tab completion for a shell and exit")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    for name in COMMANDS:
        module = importlib.import_module(f"kdet.cli.{name.replace('-', '_')}")
        one = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(one)
        one.add_argument("--verbose", action="store_true", help="show the messages of other libraries too")
        one.add_argument("--debug", action="store_true", help="show the whole stack of an error")
        one.set_defaults(run=module.run)
    return top


def quiet() -> None:
    """Silence the messages of TensorFlow, absl and the converters."""
    import tensorflow as tf

    with startup():
        tf.config.list_physical_devices()  # says here, once, that there is no GPU
    tf.get_logger().setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
