"""``python -m kdet.ops build``: see `kdet.ops.build`."""

from kdet.ops.build import main

main()
