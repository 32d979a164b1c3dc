"""Downloads published checkpoints once, checks them, and keeps them.

Everything lives under the folder that the environment variable ``KDET_HOME`` names (default
``~/.cache/kdet``): ``checkpoints/`` holds the files as published, ``converted/`` the same weights laid out
for kdet.
"""

import logging
import os
import pathlib
import re
import urllib.parse

import pooch
import requests

from kdet.convert.files import atomic_path
from kdet.errors import KdetError
from kdet.typing import PathLike

logger = logging.getLogger("kdet")

_HASH = re.compile(r"[-_]([0-9a-f]{8,64})\.\w+$")


class FetchError(KdetError, RuntimeError):
    """A checkpoint could not be fetched, or is not the one that was published."""


def home() -> pathlib.Path:
    """The cache folder (it need not exist yet)."""
    return pathlib.Path(os.environ.get("KDET_HOME") or "~/.cache/kdet").expanduser()


def hash_head(name: str) -> str:
    """The first hex digits of the sha256 that a published file name ends with, ``""`` without any."""
    found = _HASH.search(name)
    return found[1] if found else ""


def fetch(address: str) -> pathlib.Path:
    """The local path of a published file: from the cache, or downloaded.

    Args:
        address: ``http(s)://.../name-<hash head>.pth``.

    Raises:
        FetchError: no network, an interrupted download, a wrong hash, a cache that cannot be written. No
            partial file is left behind.
    """
    name = pathlib.PurePosixPath(urllib.parse.urlparse(address).path).name
    target = home() / "checkpoints" / name
    if not target.exists():
        logger.info("Downloading %s to %s", address, target.parent)
        try:
            with atomic_path(target) as partial:
                _download(address, partial, target)
                _check(partial, name, f"{address} arrived damaged or cut off. Try again.")
        except OSError as error:
            advice = "Set the environment variable KDET_HOME to a folder with room that can be written."
            raise FetchError(f"{error} {advice}") from error
        return target
    _check(target, name, f"{target} is damaged. Delete it to have it downloaded again.")
    return target


def _download(address: str, partial: pathlib.Path, target: pathlib.Path) -> None:
    try:
        pooch.HTTPDownloader(timeout=30)(address, str(partial), None)
    except requests.HTTPError as error:
        raise FetchError(f"{address} could not be downloaded: the server answers {error}") from error
    except requests.RequestException as error:
        raise FetchError(
            f"{address} could not be downloaded ({type(error).__name__}). Check the network and try again, "
            f"or put the file at {target} yourself."
        ) from error


def _check(path: PathLike, name: str, advice: str) -> None:
    expected = hash_head(name)
    found = pooch.file_hash(str(path), alg="sha256")[: len(expected)]
    if found != expected:
        raise FetchError(f"{advice} (sha256 starts with {found}, the name says {expected})")
