"""Detections in a data set of Ray Data: actors that hold a model take its blocks."""

import pathlib
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdet import storage
from kdet.cluster.ray_start import Workers, library, started
from kdet.errors import KdetError, short
from kdet.typing import PathLike

if TYPE_CHECKING:
    from kdet.results import Result


def predict_dataset(
    dataset: Any,
    model: Any,
    *,
    image: str = "image",
    weights: PathLike | None = "published",
    workers: Workers | None = None,
    min_score: float = 0.3,
    batch_size: int = 8,
) -> Any:
    """Detect objects in every row of a ``ray.data.Dataset``.

    Rows come out as they went in, but for decoded pixels, with the columns ``height``, ``width``, ``boxes``
    (list of ``[x1, y1, x2, y2]`` in original pixels), ``scores``, ``labels``, ``names``, ``masks`` (COCO run
    lengths ``{size, counts}``; null of models without masks) and ``error``, which says why an image could not
    be read and is null otherwise. Nothing runs before the result is written or counted. An actor that dies is
    started again and its rows are taken again.

    Args:
        dataset: of images, as paths or addresses (text), as the bytes of files, or as decoded pixels
            (``ray.data.read_images``).
        model: a detector; or what ``kdet.zoo.load`` takes, which every worker then loads for itself.
        image: the column of the images.
        weights: as in ``kdet.zoo.load``, where ``model`` is a name.
        workers: how many actors, and what each takes of the cluster; default one with one CPU.
        min_score: leave out detections below it.
        batch_size: images that go through together.

    Returns:
        ``ray.data.Dataset``.

    Raises:
        KdetError: Ray is not installed, or the data set has no such column.

    Example:
        >>> images = ray.data.read_images("s3://lake/photos")
        >>> found = kdet.cluster.predict_dataset(images, "rtmdet_s_300e", workers=Workers(workers=8, gpus=1))
        >>> found.write_parquet("s3://lake/found")
    """
    ray = library()
    columns = dataset.columns()
    if columns is not None and image not in columns:
        raise KdetError(f"The data set has no column {image!r}; it has {', '.join(map(str, columns))}.")
    workers = workers or Workers()
    source = model if isinstance(model, (str, pathlib.Path)) else ray.put(_as_files(model))
    return dataset.map_batches(
        _Predictor,
        fn_constructor_kwargs={
            "source": source,
            "weights": weights,
            "image": image,
            "min_score": min_score,
            "batch_size": batch_size,
        },
        batch_size=batch_size,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=workers.workers),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus or None,
    )


def predict_paths(
    paths: Sequence[str],
    model: Any,
    target: PathLike,
    *,
    workers: Workers,
    min_score: float = 0.3,
    batch_size: int = 8,
) -> tuple[int, int]:
    """Detect objects in image files and write them as Parquet: the columns of :func:`predict_dataset`.

    Args:
        paths: of the images, where every machine finds them.
        model, workers, min_score, batch_size: as in :func:`predict_dataset`.
        target: folder for the Parquet files, on storage that all machines share, or its URL
            (``kdet.storage``).

    Returns:
        How many images there are, and how many of them could not be read.

    Raises:
        KdetError: Ray is not installed, or ``target`` holds something.
    """
    from pyarrow import dataset as parquet

    if storage.is_url(target):
        system, root = storage.arrow(str(target))
        used = bool(storage.listing(str(target)))
    else:
        folder = pathlib.Path(target).absolute()
        system, root = None, str(folder)
        used = folder.exists() and any(folder.iterdir())
    if used:
        raise KdetError(f"{target} is not empty: choose another folder, or delete it.")
    ray = library()
    with started():
        images = ray.data.from_items([{"image": path} for path in paths])
        options: dict[str, Any] = {"workers": workers, "min_score": min_score, "batch_size": batch_size}
        predict_dataset(images, model, **options).write_parquet(root, filesystem=system)
    written = parquet.dataset(root, format="parquet", filesystem=system)
    return written.count_rows(), written.count_rows(filter=~parquet.field("error").is_null())


def _as_files(model: Any) -> dict[str, bytes]:
    """A detector as the files of a preset."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_to_preset(pathlib.Path(folder) / "model")
        root = pathlib.Path(folder) / "model"
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


class _Predictor:
    """The actor: loads the model once, then takes batches of rows."""

    def __init__(
        self, source: Any, weights: PathLike | None, image: str, min_score: float, batch_size: int
    ) -> None:
        from kdet import zoo

        self.image, self.min_score, self.batch_size = image, min_score, batch_size
        if isinstance(source, (str, pathlib.Path)):
            self.model = zoo.load(source, weights)
            return
        files = library().get(source)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                path = pathlib.Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.model = zoo.load(folder)

    def __call__(self, table: Any) -> Any:
        import pyarrow as pa

        images, is_pixels = _images(table.column(self.image))
        results = self.model.predict_iter(images, batch_size=self.batch_size, on_corrupt="report")
        rows = [_row(result, self.min_score) for result in results]
        if len(rows) != table.num_rows:
            raise KdetError(f"Each row is one image; among {short(images)} is a folder or nothing.")
        if is_pixels:
            table = table.drop_columns([self.image])
        for name, kind in _schema(pa).items():
            table = table.append_column(name, pa.array([row[name] for row in rows], kind))
        return table


def _images(column: Any) -> tuple[list[Any], bool]:
    """What ``predict_iter`` takes of a column of PyArrow, and whether it holds decoded pixels."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_null(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return [value or b"" for value in column.to_pylist()], False  # no image is reported as one
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [value or b"" for value in column.to_pylist()], False
    return list(column.combine_chunks().to_numpy_ndarray()), True


def _schema(pa: Any) -> dict[str, Any]:
    """The columns that are added, the same for every block."""
    size, run_lengths = ("size", pa.list_(pa.int32())), ("counts", pa.string())
    return {
        "height": pa.int32(),
        "width": pa.int32(),
        "boxes": pa.list_(pa.list_(pa.float32())),
        "scores": pa.list_(pa.float32()),
        "labels": pa.list_(pa.int32()),
        "names": pa.list_(pa.string()),
        "masks": pa.list_(pa.struct([size, run_lengths])),
        "error": pa.string(),
    }


def _row(result: "Result", min_score: float) -> dict[str, Any]:
    """What the added columns hold for one image."""
    from kdet.evaluation.results import encode_mask

    shown = result if result.error is not None else result.above(min_score)
    height, width = result.size or (None, None)
    return {
        "height": height,
        "width": width,
        "boxes": shown.boxes.tolist(),
        "scores": shown.scores.tolist(),
        "labels": shown.labels.tolist(),
        "names": list(shown.names),
        "masks": None if shown.masks is None else [encode_mask(mask) for mask in shown.masks],
        "error": result.error,
    }
