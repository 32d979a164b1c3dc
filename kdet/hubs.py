"""Hubs that share models: Hugging Face and Kaggle, each through its own library.

An address is ``hf://user/model`` (``hf://user/model@revision`` for a branch, tag or commit) or
``kaggle://user/model/keras/variation`` (a version may follow). Who is logged in, where files are kept and
which server is asked, is up to those libraries.
"""

import pathlib
from collections.abc import Callable
from typing import Any

from kdet.errors import KdetError, first_line
from kdet.typing import PathLike

SCHEMES = ("hf://", "kaggle://")
_FORMS = {"hf://": "hf://user/model", "kaggle://": "kaggle://user/model/keras/variation"}


class HubError(KdetError, RuntimeError):
    """A model could not be fetched from a hub or sent there."""


def is_address(name: str) -> bool:
    """Whether a name is an address on a hub."""
    return name.startswith(SCHEMES)


def download(address: str) -> pathlib.Path:
    """Return the folder that holds the files of a model, downloaded once and kept by the hub's library.

    Raises:
        HubError: a malformed address, a missing library, no such model, no network.
    """
    scheme, path = _split(address)
    if scheme == "hf://":
        repository, _, revision = path.partition("@")
        hub = _library("huggingface_hub", "hub")
        return pathlib.Path(
            _asked(address, hub.snapshot_download, repo_id=repository, revision=revision or None)
        )
    return pathlib.Path(_asked(address, _library("kagglehub", "hub").model_download, path))


def upload(folder: PathLike, address: str, message: str = "A detector of kdet", private: bool = False) -> str:
    """Send a preset to a hub, where the model is made unless it exists.

    Args:
        folder: of ``Detector.save_to_preset``.
        address: where to; without a revision.
        message: what the hub's history says.
        private: a model that is made now is not public (Hugging Face; Kaggle's are private at first).

    Returns:
        The address.

    Raises:
        HubError: as in :func:`download`, or who is logged in may not write there.
    """
    scheme, path = _split(address)
    if scheme == "hf://":
        if "@" in path:
            raise HubError(f"{address}: an upload goes to the main branch; leave out what follows the @.")
        api = _library("huggingface_hub", "hub").HfApi()
        _asked(address, api.create_repo, repo_id=path, exist_ok=True, private=private)
        _asked(address, api.upload_folder, repo_id=path, folder_path=str(folder), commit_message=message)
    else:
        hub = _library("kagglehub", "hub")
        _asked(address, hub.model_upload, handle=path, local_model_dir=str(folder), version_notes=message)
    return address


def _split(address: str) -> tuple[str, str]:
    scheme = next((scheme for scheme in SCHEMES if address.startswith(scheme)), None)
    if scheme is None:
        raise HubError(f"{address!r} is no address on a hub: {' or '.join(_FORMS.values())}.")
    path = address[len(scheme) :]
    parts = path.partition("@")[0].split("/")
    wanted = (2,) if scheme == "hf://" else (4, 5)
    if len(parts) not in wanted or not all(parts):
        raise HubError(f"{address!r} is no address of a model; it looks like {_FORMS[scheme]}.")
    return scheme, path


def _library(name: str, extra: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise HubError(f"This needs the package {name}: pip install 'kdet[{extra}]'.") from error


def _asked(address: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a hub's library answers; its errors, of many kinds, as ours with the address."""
    try:
        return call(*args, **kwargs)
    except Exception as error:
        raise HubError(f"{address}: {first_line(error)} ({type(error).__name__})") from error
