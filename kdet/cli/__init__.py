"""What the command-line tools share."""

from kdet.cli.guard import add_debug, guard

__all__ = ["add_debug", "guard"]
