"""Downloads published checkpoints once, checks them, and keeps them.

Everything lives under the folder that the environment variable ``KDET_HOME`` names (default
``~/.cache/kdet``): ``checkpoints/`` holds the files as published, ``converted/`` the same weights laid out
for kdet. Where ``KDET_MIRROR`` names a server or a folder with the files as published, they come from there
(``kdet zoo fetch`` makes such a folder).
"""

import logging
import os
import pathlib
import re
import shutil
import urllib.parse

import requests

from kdet.convert.files import atomic_path
from kdet.errors import KdetError
from kdet.typing import PathLike
from kdet.writing import cache_folder

logger = logging.getLogger("kdet")

SCHEMES = ("http://", "https://", "hf://")
HUGGING_FACE = "https://huggingface.co"
_HASH = re.compile(r"[-_]([0-9a-f]{8,64})\.\w+$")


class FetchError(KdetError, RuntimeError):
    """A checkpoint could not be fetched, or is not the one that was published."""


def hash_head(name: str) -> str:
    """The first hex digits of the sha256 that a published file name ends with, ``""`` without any."""
    found = _HASH.search(name)
    return found[1] if found else ""


def fetch(address: str) -> pathlib.Path:
    """The local path of a published file: from the cache, or downloaded.

    Args:
        address: ``http(s)://.../name-<hash head>.pth``, or ``hf://user/model/file`` of Hugging Face; the
            environment variable ``HF_ENDPOINT`` names another server than its own, ``HF_TOKEN`` who asks.

    Raises:
        FetchError: no network, an interrupted download, a wrong hash, a cache that cannot be written. No
            partial file is left behind.
    """
    name = file_name(address)
    target = cache_folder() / "checkpoints" / name
    if not target.exists():
        source = mirrored(address)
        logger.info("Downloading %s to %s", source, target.parent)
        try:
            with atomic_path(target) as partial:
                _copy(source, partial, target)
                _check(partial, name, f"{source} arrived damaged or cut off. Try again.")
        except OSError as error:
            advice = "Set the environment variable KDET_HOME to a folder with room that can be written."
            raise FetchError(f"{error} {advice}") from error
        return target
    _check(target, name, f"{target} is damaged. Delete it to have it downloaded again.")
    return target


def mirrored(address: str) -> str:
    """Where a published file comes from: its address, or its place in the mirror ``KDET_MIRROR``."""
    mirror = os.environ.get("KDET_MIRROR")
    if mirror:
        return f"{mirror.rstrip('/')}/{file_name(address)}"
    if not address.startswith("hf://"):
        return address
    user, model, file = _on_hub(address)
    endpoint = os.environ.get("HF_ENDPOINT") or HUGGING_FACE
    return f"{endpoint.rstrip('/')}/{user}/{model}/resolve/main/{file}"


def file_name(address: str) -> str:
    """The name of a published file in the cache and in mirrors; a hub's files have the model's before it."""
    if address.startswith("hf://"):
        return "--".join(_on_hub(address)).replace("/", "--")
    return pathlib.PurePosixPath(urllib.parse.urlparse(address).path).name


def _on_hub(address: str) -> tuple[str, str, str]:
    """User, model and file of ``hf://user/model/file``."""
    parts = address.removeprefix("hf://").split("/", 2)
    if len(parts) != 3 or not all(parts) or ".." in parts[2].split("/"):
        raise FetchError(
            f"{address!r} is no address of a file; it looks like hf://user/model/model.safetensors."
        )
    return parts[0], parts[1], parts[2]


def _copy(source: str, partial: pathlib.Path, target: pathlib.Path) -> None:
    if source.startswith(("http://", "https://")):
        _download(source, partial, target)
        return
    if not pathlib.Path(source).is_file():
        raise FetchError(f"The mirror has no file {source}. Unset KDET_MIRROR to download it.")
    shutil.copyfile(source, partial)


def _download(address: str, partial: pathlib.Path, target: pathlib.Path) -> None:
    import pooch  # import time is precious

    try:
        pooch.HTTPDownloader(timeout=30, headers=_headers(address))(address, str(partial), None)
    except requests.HTTPError as error:
        raise FetchError(f"{address} could not be downloaded: the server answers {error}") from error
    except requests.RequestException as error:
        raise FetchError(
            f"{address} could not be downloaded ({type(error).__name__}). Check the network and try again, "
            f"or put the file at {target} yourself."
        ) from error


def _headers(address: str) -> dict[str, str]:
    """What a server is told beside the address: who asks, where it is the one that ``HF_TOKEN`` is for."""
    token, endpoint = os.environ.get("HF_TOKEN"), os.environ.get("HF_ENDPOINT") or HUGGING_FACE
    return {"Authorization": f"Bearer {token}"} if token and address.startswith(endpoint + "/") else {}


def _check(path: PathLike, name: str, advice: str) -> None:
    import pooch

    expected = hash_head(name)
    found = pooch.file_hash(str(path), alg="sha256")[: len(expected)]
    if found != expected:
        raise FetchError(f"{advice} (sha256 starts with {found}, the name says {expected})")
