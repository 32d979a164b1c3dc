"""``verification/equivalent_mutants.yaml``: mutants that change nothing anyone can see, with reasons."""

import pathlib

import yaml

from verification.mutants import kernel_sites, sites
from verification.mutants.sites import Mutant

FILE = pathlib.Path(__file__).resolve().parents[1] / "equivalent_mutants.yaml"
FIELDS = {"file", "line", "mutation", "reason"}


class EquivalentsError(ValueError):
    """The list cannot be used; the message names the entry and says what to do."""


def find(root: pathlib.Path, path: str) -> list[Mutant]:
    """All mutants of a file of the checkout, by its language."""
    finder = sites.find if path.endswith(".py") else kernel_sites.find
    return finder((root / path).read_text(encoding="utf-8"), path)


def read(root: pathlib.Path, file: pathlib.Path = FILE) -> dict[str, str]:
    """``{key of a mutant: reason}``.

    Args:
        root: the checkout.
        file: a list of mappings: ``file``, ``line`` (the stripped text of the expression's first line),
            ``mutation`` (``before -> after``) and ``reason``. An entry stands for equal lines of its file.

    Raises:
        EquivalentsError: an entry has other fields, or matches no mutant any more.
    """
    entries = yaml.safe_load(file.read_text(encoding="utf-8")) or []
    found, mutants = {}, {}
    for entry in entries:
        if set(entry) != FIELDS or not all(isinstance(value, str) and value for value in entry.values()):
            raise EquivalentsError(
                f"{file.name}: an entry has the fields {sorted(FIELDS)}, all text: {entry}"
            )
        path = entry["file"]
        if path not in mutants:
            if not (root / path).is_file():
                raise EquivalentsError(f"{file.name}: there is no file {path}; correct or remove {entry}")
            mutants[path] = find(root, path)
        same = [m for m in mutants[path] if (m.text, m.mutation) == (entry["line"], entry["mutation"])]
        if not same:
            raise EquivalentsError(
                f"{file.name}: no mutant of {path} is {entry['mutation']!r} on the line {entry['line']!r}; "
                "correct the entry or remove it"
            )
        found.update({mutant.key: entry["reason"] for mutant in same})
    return found
