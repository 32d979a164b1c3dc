"""Whether an export can be written where it shall go, asked before the work is done."""

from kdet.export.formats import Format
from kdet.typing import PathLike
from kdet.writing import check_target


def check(path: PathLike, chosen: Format) -> None:
    """Raises OSError where ``path`` cannot become what is exported.

    Args:
        path: of the export.
        chosen: the format, which says whether it is a folder or a file.
    """
    check_target(path, chosen.folder, chosen.title)
