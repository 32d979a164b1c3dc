"""Detects objects in pictures: ``python tools/predict.py NAME IMAGES... --out DIR``.

Writes every picture with boxes, masks and labels drawn in, and ``detections.json``: a list with one entry per
picture, ``{"image", "height", "width", "detections": [{"label", "class", "score", "box" [x1, y1, x2, y2],
"mask" (COCO RLE, where the model has masks)}]}``.
"""

import argparse
import json
import logging
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="name of a recipe that ships with kdet, or a YAML file")
    parser.add_argument("images", nargs="+", help="pictures, or folders of pictures")
    parser.add_argument("--weights", default="published", help="file, or 'published' (default)")
    parser.add_argument("--out", required=True, help="folder for the results")
    parser.add_argument("--min-score", type=float, default=0.3, help="leave out detections below it")
    parser.add_argument("--set", nargs="*", action="extend", default=[], metavar="KEY=VALUE")
    parser.add_argument("--debug", action="store_true", help="show the whole stack of an error")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from kdet.cli import guard

    with guard("predict", options.debug):
        run(options)


def run(options):
    paths = find_pictures(options.images)
    import tensorflow as tf

    from kdet import visualize, zoo
    from kdet.config import Config
    from kdet.data import pictures

    config = Config.load(options.name, options.set)
    model = config.build("model")
    zoo.fill(model, config, options.weights)
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, path in enumerate(paths):
        found = {key: value[0] for key, value in model.predict([str(path)]).items()}
        image = pictures.load(str(path))
        detections = describe(found, model.class_names, options.min_score)
        entry = {"image": str(path), "height": image.shape[0], "width": image.shape[1]}
        entries.append({**entry, "detections": detections})
        same_name = path.stem in [p.stem for p in paths[:number]]
        target = out / (f"{path.stem}_{number}.png" if same_name else f"{path.stem}.png")
        picture = visualize.draw_detections(image, found, model.class_names, threshold=options.min_score)
        tf.io.write_file(str(target), tf.io.encode_png(picture))
        print(f"{path}: {len(detections)} objects -> {target}")
    with open(out / "detections.json", "w") as file:
        json.dump(entries, file, indent=1)


def find_pictures(given):
    """The files that were named, and the pictures in the folders that were named."""
    paths = []
    for item in map(pathlib.Path, given):
        if item.is_dir():
            endings = (".jpg", ".jpeg", ".png", ".bmp")
            paths += sorted(p for p in item.iterdir() if p.suffix.lower() in endings)
        elif item.is_file():
            paths.append(item)
        else:
            raise FileNotFoundError(f"There is no picture or folder {item}.")
    if not paths:
        raise ValueError(f"There are no pictures in {', '.join(map(str, given))}.")
    return paths


def describe(found, class_names, min_score):
    """The detections of one picture for the JSON."""
    from kdet.evaluation.results import encode_mask

    detections = []
    for i in range(int(found["num_detections"])):
        if found["scores"][i] < min_score:
            continue
        label = int(found["labels"][i])
        detection = {"label": label, "class": class_names[label] if class_names else str(label)}
        detection.update(score=float(found["scores"][i]), box=[float(v) for v in found["boxes"][i]])
        if "masks" in found:
            detection["mask"] = encode_mask(found["masks"][i])
        detections.append(detection)
    return detections


if __name__ == "__main__":
    main()
