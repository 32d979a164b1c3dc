"""What a fuzzer runs."""

import pathlib

ASSETS = pathlib.Path(__file__).parent.parent / "assets"


class Target:
    """A reader and valid input for it.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.prepare()

    def prepare(self):
        """Writes what all cases share."""

    def write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        return str(path)
