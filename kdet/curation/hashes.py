"""Which images are the same, by the bytes of their files."""

import concurrent.futures
import hashlib

from kdet.data import DatasetIndex
from kdet.errors import DataError


def hashes(index: DatasetIndex) -> list[str]:
    """A hash of the file of every image, in the order of the index; empty where it cannot be read."""

    def one(record: object) -> str:
        try:
            return hashlib.blake2b(index.read(record), digest_size=16).hexdigest()  # type: ignore[arg-type]
        except (DataError, OSError):
            return ""

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(one, index.records))


def groups(found: list[str]) -> list[list[int]]:
    """Positions of the same hash together, by their first; what could not be read stands alone."""
    places: dict[object, list[int]] = {}
    for position, value in enumerate(found):
        places.setdefault(value or position, []).append(position)
    return list(places.values())
