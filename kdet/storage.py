"""Files behind a URL (``s3://``, ``gs://``, ``az://``, ``hf://``, ``memory://`` ...) through fsspec; those of
``http://`` and ``https://`` are read without it.

What is read is copied into a cache on this machine, whose size is bounded, and opened there; what is written
is made here and sent when it is whole. Every transfer is tried again after a pause, a few times.

Environment variables: ``KDET_REMOTE_CACHE``, the most gigabytes of the cache (default 20);
``KDET_REMOTE_TRIES``, how often a transfer is tried (default 5).
"""

import contextlib
import functools
import glob
import hashlib
import logging
import os
import pathlib
import posixpath
import random
import re
import shutil
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from kdet.errors import DataError, KdetError, MissingFile, WriteError, first_line
from kdet.typing import PathLike
from kdet.writing import cache_folder

T = TypeVar("T")
logger = logging.getLogger("kdet")

FIRST_PAUSE = 0.5  # seconds; each further one is twice as long
# which have no folders, and where to make one may make a bucket
OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf")
_WEB = ("http://", "https://")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# what another try does not mend
_FINAL = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, ImportError, ValueError)
_lock = threading.Lock()
_added = [0, 0]  # bytes since the cache was last looked through, and whether it was
_known: dict[str, pathlib.Path] = {}  # URLs whose copy was compared with them by this process


def is_url(path: Any) -> bool:
    """Whether this is the URL of a file or folder, not a local path."""
    return isinstance(path, str) and _URL.match(path) is not None


def is_pattern(url: str) -> bool:
    """Whether a URL has ``*``, ``?`` or ``[``, of which a web address may have any."""
    return glob.has_magic(url) and not url.startswith(_WEB)


def join(folder: PathLike, name: str) -> PathLike:
    """The path or URL of a file in a folder."""
    return f"{str(folder).rstrip('/')}/{name}" if is_url(folder) else pathlib.Path(folder) / name


def beside(url: str, name: str) -> str:
    """The URL of a file by its place relative to another's, as in ``../a.yaml``."""
    scheme, _, place = url.partition("://")
    folder = posixpath.dirname(place.partition("?")[0])
    return f"{scheme}://{posixpath.normpath(posixpath.join(folder, name))}"


def stem(path: PathLike) -> str:
    """The name of a file, or of one behind a URL, without its folder and ending."""
    return pathlib.PurePath(str(path).partition("?")[0] if is_url(path) else path).stem


def local(url: str, error: type[Exception] = DataError) -> pathlib.Path:
    """The copy of a file in the cache, made or renewed where it is missing or older than the file.

    Whether it is older is asked once in a process.

    Args:
        url: of the file.
        error: the class of what is raised when it cannot be read.

    Raises:
        MissingFile: there is no such file. DataError: it cannot be read; both name the URL.
    """
    there = _known.get(url)
    if there is not None and there.is_file():
        return there
    system, path = _opened(url)
    state = _persistent(url, "read", error, lambda: system.ukey(path))
    key = hashlib.sha256(f"{url}\0{state}".encode()).hexdigest()[:24]
    target = cache_folder() / "remote" / f"{key}-{pathlib.PurePosixPath(path.partition('?')[0]).name[-80:]}"
    if target.is_file():
        os.utime(target)
    else:
        _persistent(url, "read", error, lambda: _download(system, path, target))
        _bound(target)
    _known[url] = target
    return target


def listing(url: str) -> set[str] | None:
    """Names of the files in a folder, none where there is no such folder; None of a server without lists."""
    system, path = _opened(url)
    if "https" in system.protocol:
        return None
    try:
        entries = _persistent(url, "listed", DataError, lambda: system.ls(path, detail=True))
    except MissingFile:
        return set()
    return {pathlib.PurePosixPath(e["name"]).name for e in entries if e["type"] == "file"}


def matching(pattern: str) -> list[str]:
    """The URLs that match a pattern, in order; of a URL without ``*``, ``?`` and ``[`` itself."""
    if not is_pattern(pattern):
        return [pattern]
    system, path = _opened(pattern)
    found = _persistent(pattern, "listed", DataError, lambda: system.glob(path))
    if pattern.endswith(path):  # spelled as the pattern is
        return sorted(pattern.removesuffix(path) + str(one) for one in found)
    return sorted(system.unstrip_protocol(one) for one in found)


def meant(url: str, endings: tuple[str, ...]) -> list[str]:
    """The URLs of files that one stands for, in order.

    Args:
        url: of a file; or a pattern or a folder, which mean the files in it with one of the endings.
        endings: in lower case, with their dots.

    Raises:
        MissingFile: a pattern or folder without such a file. DataError: it cannot be listed.
    """
    if is_pattern(url):
        found = [one for one in matching(url) if one.lower().endswith(endings)]
    elif url.startswith(_WEB) or url.lower().endswith(endings):
        return [url]
    else:
        system, path = _opened(url)
        entries = _persistent(url, "listed", DataError, lambda: system.ls(path, detail=True))
        files = sorted(str(entry["name"]) for entry in entries if entry["type"] == "file")
        if [one.strip("/") for one in files] == [path.strip("/")]:  # a file without an ending
            return [url]
        names = [pathlib.PurePosixPath(one).name for one in files if one.lower().endswith(endings)]
        found = [str(join(url, name)) for name in names]
    if not found:
        raise MissingFile(f"There is no file with the ending {', '.join(endings)} in {url}.")
    return found


@contextlib.contextmanager
def sent(url: str) -> Iterator[pathlib.Path]:
    """Gives a local path to write a file or a folder to; at the end it is sent to the URL.

    Raises:
        WriteError: it cannot be sent; naming the URL.
    """
    system, path = _opened(url, WriteError)
    with tempfile.TemporaryDirectory(prefix="kdet-") as folder:
        part = pathlib.Path(folder) / pathlib.PurePosixPath(path.rstrip("/")).name
        yield part
        _send(system, part, path, url)


class Mirror:
    """A folder on this machine that stands for one behind a URL, for a run that writes many files.

    Args:
        url: of the folder.

    Attributes:
        folder: the local one.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._system, self._root = _opened(self.url, WriteError)
        self._scratch = tempfile.TemporaryDirectory(prefix="kdet-")
        self.folder = pathlib.Path(self._scratch.name) / "work"
        self.folder.mkdir()
        self._sent: dict[str, tuple[int, int]] = {}  # time and size of the files that are there

    def pull(self, wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Copies the files that the folder has, where ``wanted`` says so of their names below it."""
        root = self._root.rstrip("/") + "/"
        paths = _persistent(self.url, "listed", DataError, lambda: self._system.find(self._root))
        for path in paths:
            name = str(path).removeprefix(root)
            if wanted(name):
                target = self.folder / name
                _persistent(
                    f"{self.url}/{name}",
                    "read",
                    DataError,
                    functools.partial(_download, self._system, path, target),
                )
                self._sent[name] = _state(target)

    def push(self) -> None:
        """Sends what is new or was changed, and removes there what was removed here."""
        with _lock:
            now = {
                path.relative_to(self.folder).as_posix(): path
                for path in sorted(self.folder.rglob("*"))
                if path.is_file() and not path.name.startswith((".part", "part_"))
            }
            for name, path in now.items():
                try:
                    state = _state(path)
                    if self._sent.get(name) != state:
                        _send(self._system, path, f"{self._root}/{name}", f"{self.url}/{name}")
                        self._sent[name] = state
                except FileNotFoundError:  # removed meanwhile
                    continue
            for name in set(self._sent) - set(now):
                with contextlib.suppress(FileNotFoundError):
                    self._system.rm(f"{self._root}/{name}")
                del self._sent[name]

    def close(self) -> None:
        """Removes the local folder."""
        self._scratch.cleanup()


def arrow(url: str) -> tuple[Any, str]:
    """The file system of a URL for ``pyarrow``, and the path in it; for writing."""
    from pyarrow import fs

    system, path = _opened(url, WriteError)
    return fs.PyFileSystem(fs.FSSpecHandler(system)), path


def check_target(url: str) -> None:
    """Raise a WriteError where nothing can be written behind a URL of this kind."""
    _opened(url, WriteError)


def _opened(url: str, error: type[Exception] = DataError) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    if url.startswith(_WEB):
        if error is WriteError:
            raise WriteError(f"{url} cannot be written: a web server is only read from.")
        return _Web(), url
    try:
        import fsspec  # an extra
    except ImportError as fault:
        raise KdetError(f"{url} needs the package fsspec: pip install 'kdet[remote]'.") from fault
    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as fault:  # no package for this kind of URL, or no such kind
        raise error(f"{url} cannot be opened: {first_line(fault).rstrip('.')}.") from fault


class _Web:
    """What is used here of a file system of fsspec, for files of web servers."""

    protocol = ("http", "https")

    def ukey(self, url: str) -> str:
        """What changes when the file does; where the server does not say, another at every call."""
        try:
            with self._answer(urllib.request.Request(url, method="HEAD")) as answer:
                marks = [answer.headers.get(key) for key in ("ETag", "Last-Modified")]
        except OSError:  # refused; what is wrong with the file itself, reading it says
            marks = []
        return str(marks) if any(marks) else str(time.time())

    def get_file(self, url: str, target: str) -> None:
        """Copy the file to ``target``."""
        with self._answer(urllib.request.Request(url)) as answer, open(target, "wb") as file:
            shutil.copyfileobj(answer, file)
            expected = answer.headers.get("Content-Length")
            if expected is not None and file.tell() != int(expected):
                raise OSError(f"{file.tell()} of {expected} bytes arrived")

    def info(self, url: str) -> dict[str, Any]:
        """Nothing: the size is compared when the file is read."""
        return {}

    def _answer(self, request: urllib.request.Request) -> Any:
        try:
            return urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as fault:
            fault.close()
            if fault.code in (404, 410):
                raise FileNotFoundError from fault
            if fault.code < 500 and fault.code not in (408, 429):
                raise PermissionError(f"the server answers {fault.code} ({fault.reason})") from fault
            raise OSError(f"the server answers {fault.code} ({fault.reason})") from fault
        except urllib.error.URLError as fault:
            raise OSError(str(fault.reason)) from fault


def _persistent(url: str, what: str, error: type[Exception], work: Callable[[], T]) -> T:
    """What ``work`` gives, tried again after pauses."""
    tries = int(os.environ.get("KDET_REMOTE_TRIES") or 5)
    for number in range(1, tries + 1):
        try:
            return work()
        except FileNotFoundError as fault:
            raise MissingFile(f"There is no file {url}.") from fault
        except Exception as fault:
            reason = first_line(fault).rstrip(".") or type(fault).__name__
            if isinstance(fault, _FINAL):
                raise error(f"{url} cannot be {what}: {reason}.") from fault
            if number == tries:
                raise error(f"{url} could not be {what} in {tries} tries: {reason}.") from fault
            logger.info("%s could not be %s (%s); trying again.", url, what, reason)
            time.sleep(FIRST_PAUSE * 2 ** (number - 1) * random.uniform(1.0, 1.5))
    raise AssertionError("KDET_REMOTE_TRIES is at least 1")


def _download(system: Any, path: str, target: pathlib.Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part.")
    os.close(handle)
    part = pathlib.Path(name)
    try:
        system.get_file(path, str(part))
        expected = system.info(path).get("size")
        if expected is not None and part.stat().st_size != expected:
            raise OSError(f"{part.stat().st_size} of {expected} bytes arrived")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _send(system: Any, part: pathlib.Path, path: str, url: str) -> None:
    def work() -> None:
        if part.is_dir():
            for one in part.rglob("*"):
                if one.is_file():
                    _put(system, one, f"{path.rstrip('/')}/{one.relative_to(part).as_posix()}")
        else:
            _put(system, part, path)

    try:
        _persistent(url, "written", WriteError, work)
    except MissingFile as fault:
        raise WriteError(f"{url} cannot be written: there is no such bucket or folder.") from fault


def _put(system: Any, part: pathlib.Path, path: str) -> None:
    protocol = system.protocol if isinstance(system.protocol, str) else system.protocol[0]
    parent = path.rpartition("/")[0]
    if parent and protocol not in OBJECT_STORES:
        system.makedirs(parent, exist_ok=True)
    system.put_file(str(part), path)


def _state(path: pathlib.Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def _bound(newest: pathlib.Path) -> None:
    """Remove the copies that were not used for longest, down to the size that the cache may have.

    It is looked through once for every twentieth of that size that was added.
    """
    most = float(os.environ.get("KDET_REMOTE_CACHE") or 20) * 2**30
    with _lock:
        _added[0] += newest.stat().st_size
        if _added[0] < most / 20 and _added[1]:
            return
        _added[:] = [0, 1]
        found = []
        for path in newest.parent.iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.append((path.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found, key=lambda one: one[0]):
            if total <= most * 0.95:
                return
            if path != newest and not path.name.startswith(".part."):
                path.unlink(missing_ok=True)
                total -= size
