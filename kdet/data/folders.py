"""Folders of images: which files there are, and that a name from an annotation file stays inside."""

import difflib
import os
import unicodedata
from typing import Any

from kdet import storage
from kdet.data import files
from kdet.errors import DataError, MissingFile, short
from kdet.typing import PathLike


class ImageFolder:
    """Which regular files a folder has: one listing per directory instead of one look-up per image.

    Args:
        root: the folder; may be a URL.
        key: what in the recipe names it, for messages.
        allow_outside: names may lead out of the folder (``../other/a.jpg``, absolute paths).

    Raises:
        DataError: no folder was given.
    """

    def __init__(self, root: PathLike | None, key: str = "data.images", allow_outside: bool = False) -> None:
        if not isinstance(root, (str, os.PathLike)) or not os.fspath(root):
            raise DataError(f"{key} must name the folder of the images; got {short(root)}.")
        self.root, self.key, self._outside = os.fspath(root), key, allow_outside
        self._listings: dict[str, Any] = {}

    def find(self, name: str) -> str | None:
        """The path of image ``name`` below the root, or None if there is no such regular file.

        Raises:
            DataError: the name leads out of the folder.
        """
        if os.path.isabs(name) or ".." in name or "\0" in name:
            self._check(name)
        path = os.path.join(self.root, name)
        folder, base = os.path.split(path)
        there = self._listing(folder)
        return path if there is None or base in there else None

    def nearest(self, name: str) -> str | None:
        """A name that ``name`` may stand for (other slashes, other Unicode form, another ending), or None."""
        plain = name.replace("\\", "/")
        for candidate in (plain, os.path.basename(plain)):
            folder, base = os.path.split(candidate)
            there = self._listing(os.path.join(self.root, folder)) or set()
            wanted = _folded(base)
            same = [n for n in there if _folded(n) == wanted]
            near = same or difflib.get_close_matches(base, list(there)[:10_000], n=1, cutoff=0.8)
            if near:
                return os.path.join(folder, near[0])
        return None

    def _listing(self, folder: str) -> set[str] | None:
        """Names of the files; None for a server that lists none."""
        if folder not in self._listings:
            read = storage.listing if storage.is_url(folder) else _regular_files
            self._listings[folder] = read(folder)
        found: set[str] | None = self._listings[folder]
        return found

    def _check(self, name: str) -> None:
        if storage.is_url(self.root):
            raise DataError(f"The image name {short(name)} leads out of the folder {self.root} ({self.key}).")
        if "\0" in name:
            raise DataError(f"The image name {short(name)} holds a NUL character; repair it.")
        inside = os.path.abspath(self.root)
        target = os.path.abspath(os.path.join(inside, name))
        if self._outside or target.startswith(os.path.join(inside, "")):
            return
        near = self.nearest(name)
        hint = f" Did you mean {near!r}?" if near else ""
        raise DataError(
            f"The image name {short(name)} leads out of the folder {self.root} ({self.key}).{hint} Use names "
            "inside the folder, or set data.allow_outside: true if you trust the file."
        )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _regular_files(folder: str) -> set[str]:
    """Names of the regular files (or links to such) in a folder, none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if _is_file(entry)}
    except (OSError, ValueError):
        return set()


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False


def find_or_report(
    folder: ImageFolder, name: str, where: PathLike, on_missing: str, faults: Any
) -> str | None:
    """The path of an image, or None where it is missing or may not be used and that was counted.

    Args:
        folder: ``ImageFolder``.
        name: as the annotations give it.
        where: the annotation file, for messages.
        on_missing: "error" or "skip".
        faults: ``Faults``, for names that lead out of the folder.

    Raises:
        MissingFile: with ``on_missing="error"``. DataError: see ``Faults``.
    """
    try:
        path = folder.find(name)
    except DataError as error:
        faults.add("image name that leads out of the folder", str(where), str(error).rstrip("."))
        return None
    if path is None:
        missing_image(folder, name, where, on_missing, faults.skips)
    return path


def missing_image(folder: ImageFolder, name: str, where: PathLike, on_missing: str, skips: Any) -> None:
    """Raises or counts, by the option ``on_missing`` (error | skip), an image that is not there.

    Raises:
        MissingFile: with ``on_missing="error"``.
    """
    path = os.path.join(folder.root, name)
    if on_missing == "error":
        try:
            exists = os.path.lexists(path)
        except ValueError:
            exists = False
        fault = "is no regular file" if exists else "does not exist"
        near = folder.nearest(name)
        hint = f" The folder holds {near!r}." if near and not exists else ""
        raise MissingFile(
            f"{where} lists the image {short(path)}, which {fault}.{hint} Check {folder.key}, or set "
            "data.on_missing: skip to leave such images out."
        )
    skips.add("image file missing", short(path))


def read_file(record: Any) -> bytes:
    """The encoded bytes of a record that names a file.

    Raises:
        MissingFile, DataError: the file is gone, no regular file, or too large.
    """
    return files.read_bytes(record.source, "image")
