"""``verification/equivalent_mutants.yaml``: mutants that change nothing anyone can see, with reasons."""

import collections
import pathlib
from collections.abc import Callable

import yaml

FILE = pathlib.Path(__file__).resolve().parents[1] / "equivalent_mutants.yaml"
FIELDS = {"file", "line", "mutation", "reason"}


class EquivalentsError(ValueError):
    """The list cannot be used; the message names the entry and says what to do."""


def read(find: Callable[[str], list], file: pathlib.Path = FILE) -> dict[str, str]:
    """``{key of a mutant: reason}``.

    Args:
        find: makes the mutants of a path; raises ``OSError`` where there is no such file.
        file: a list of mappings: ``file``, ``line`` (the stripped text of the expression's first line),
            ``mutation`` (``before -> after``) and ``reason``. An entry stands for equal lines of its file.

    Raises:
        EquivalentsError: an entry has other fields, or matches no mutant any more.
    """
    entries = yaml.safe_load(file.read_text(encoding="utf-8")) or []
    found, mutants = {}, collections.defaultdict(list)
    for entry in entries:
        if set(entry) != FIELDS or not all(isinstance(value, str) and value for value in entry.values()):
            raise EquivalentsError(
                f"{file.name}: an entry has the fields {sorted(FIELDS)}, all text: {entry}"
            )
        if entry["file"] not in mutants:
            try:
                mutants[entry["file"]] = find(entry["file"])
            except OSError:
                raise EquivalentsError(
                    f"{file.name}: there is no file {entry['file']}; remove {entry}"
                ) from None
        same = [
            m for m in mutants[entry["file"]] if (m.text, m.mutation) == (entry["line"], entry["mutation"])
        ]
        if not same:
            raise EquivalentsError(
                f"{file.name}: no mutant of {entry['file']} is {entry['mutation']!r} on the line "
                f"{entry['line']!r}; correct the entry or remove it"
            )
        found.update({mutant.key: entry["reason"] for mutant in same})
    return found
