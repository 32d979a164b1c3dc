"""What Open Images says of its classes: names, the hierarchy above them, which were looked for where."""

import csv
import glob
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from kdet.data import files
from kdet.errors import DataError, MissingFile, first_line, short
from kdet.typing import PathLike

DESCRIPTIONS = ("*class-descriptions*.csv", "*label-description*.csv")
MAX_LINE = 100_000


def csv_rows(path: PathLike, columns: Sequence[str], what: str) -> Iterator[tuple[int, dict[str, str]]]:
    """``(line, {column: text})`` of every line behind the header.

    Args:
        path: the file.
        columns: that it must have.
        what: a line is, for the message ("boxes").
    """
    with files.open_regular(path, f"Open Images file of {what}") as raw:
        reader = csv.reader(_lines(raw, path))
        try:
            header = [column.strip() for column in next(reader, [])]
            absent = [column for column in columns if column not in header]
            if absent:
                raise DataError(f"{path} is no file of Open Images' {what}: it lacks {', '.join(absent)}.")
            for row in reader:
                if row:
                    padded = row + [""] * (len(header) - len(row))
                    yield reader.line_num, dict(zip(header, padded, strict=False))
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: not valid CSV: {error}.") from error


def _lines(raw: BinaryIO, path: PathLike) -> Iterator[str]:
    for line, encoded in enumerate(raw, start=1):
        if len(encoded) > MAX_LINE or b"\0" in encoded:
            raise DataError(f"{path}, line {line}: it is no line of a CSV file.")
        yield files.as_text(encoded, f"{path}, line {line}", "line")


def class_descriptions_of(
    annotations: PathLike, given: PathLike | None, by_number: bool = False
) -> dict[str, str]:
    """``{id: name}`` of the classes, in the file's order; empty where there is no file.

    Args:
        annotations: the file beside which the descriptions lie.
        given: their file, if it lies elsewhere.
        by_number: the keys are the numbers of a challenge's classes, in whose order they come.
    """
    path = given
    if path is None:
        folder = glob.escape(os.path.dirname(os.fspath(annotations)))
        beside = sorted(found for one in DESCRIPTIONS for found in glob.glob(os.path.join(folder, one)))
        # of several the one of the classes with boxes
        path = next((p for p in beside if "boxable" in os.path.basename(p)), beside[0] if beside else None)
    if path is None:
        if by_number:
            raise MissingFile(
                f"{annotations} names classes by their numbers: data.class_descriptions must be the "
                "challenge's list of 'id,name,number' (cls-label-description.csv)."
            )
        return {}
    rows = read_descriptions(path)
    if not by_number:
        return {mid: name for mid, (name, _) in rows.items()}
    numbered = sorted((number, name) for name, number in rows.values() if number is not None)
    if len(numbered) < len(rows):
        raise DataError(f"{path} has classes without a number, by which {annotations} names them.")
    return {str(number): name for number, name in numbered}


def read_descriptions(path: PathLike) -> dict[str, tuple[str, int | None]]:
    """``{id: (name, number)}`` of a list of classes; only those of challenges have numbers.

    Raises:
        MissingFile, DataError: naming the file and the line.
    """
    if not os.path.exists(path):
        raise MissingFile(f"The file {path} does not exist (data.class_descriptions).")
    classes: dict[str, tuple[str, int | None]] = {}
    taken: set[str | int | None] = {None}
    text = files.read_text(path, "list of class names (data.class_descriptions)")
    for line, row in enumerate(csv.reader(text.replace("\0", "").splitlines()), start=1):
        if not row or row[:2] == ["LabelName", "DisplayName"]:
            continue
        words = [word.strip() for word in row]
        if not 2 <= len(row) <= 3 or not all(words) or not (len(row) == 2 or words[2].isdecimal()):
            raise DataError(
                f"{path}, line {line}: expected 'id,name' or 'id,name,number', got {short(','.join(row))}."
            )
        number = int(words[2]) if len(row) == 3 else None
        if row[0] in classes or row[1] in taken or (number is not None and number in taken):
            raise DataError(
                f"{path}, line {line}: {short(','.join(row))} has an id, name or number that stands twice."
            )
        classes[row[0]] = row[1], number
        taken |= {row[1], number}
    return classes


def read_hierarchy(path: PathLike, descriptions: Mapping[str, tuple[str, int | None]]) -> dict[str, set[str]]:
    """All classes above each class, by name.

    Args:
        path: the JSON tree of the benchmark (``bbox_labels_600_hierarchy.json``), or the matrix that
            MMDetection uses for the challenge of 2019 (``class_label_tree.np``: row of the class, column of
            the class above, the first row and column for none).
        descriptions: of :func:`read_descriptions`.

    Raises:
        MissingFile, DataError: naming the file.
    """
    if os.fspath(path).endswith(".json"):
        tree = files.read_json(path, "hierarchy of classes")
        found: dict[str, set[str]] = {}
        names = {mid: name for mid, (name, _) in descriptions.items()}
        pending: list[tuple[Any, frozenset[str]]] = [(tree, frozenset())]
        while pending:
            node, above = pending.pop()
            if not isinstance(node, Mapping) or not isinstance(node.get("Subcategory", []), list):
                raise DataError(f"{path} is no hierarchy of classes: got {short(node)} for one of them.")
            name = names.get(str(node.get("LabelName")))
            if name is not None:
                found.setdefault(name, set()).update(above)
            below = above | {name} if name is not None else above
            pending += [(child, frozenset(below)) for child in node.get("Subcategory", [])]
        return found
    ordered = [name for _, name in sorted((number or 0, name) for name, number in descriptions.values())]
    try:
        matrix = np.load(io.BytesIO(files.read_bytes(path, "hierarchy of classes")), allow_pickle=False)
        above_of = np.asarray(matrix, float)[1:, 1:] > 0
    except (ValueError, TypeError, IndexError, EOFError, OSError) as error:
        raise DataError(f"{path} is no matrix of NumPy's ({short(first_line(error))}).") from error
    if above_of.shape != (len(ordered), len(ordered)):
        raise DataError(f"{path} has {above_of.shape} for {len(ordered)} classes.")
    return {
        name: {ordered[column] for column in np.flatnonzero(above_of[row]) if column != row}
        for row, name in enumerate(ordered)
    }


def read_image_labels(
    path: PathLike, descriptions: Mapping[str, tuple[str, int | None]]
) -> dict[str, set[str]]:
    """``{image id: names of the classes that people looked for in it}``, found or not; others are left out.

    Args:
        path: ``...-human-imagelabels.csv``.
        descriptions: of :func:`read_descriptions`.

    Raises:
        MissingFile, DataError: naming the file.
    """
    found: dict[str, set[str]] = {}
    for _, row in csv_rows(path, ("ImageID", "LabelName"), "labels of images"):
        if row["LabelName"] in descriptions:
            found.setdefault(row["ImageID"], set()).add(descriptions[row["LabelName"]][0])
    return found
