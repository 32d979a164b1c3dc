"""Lays out the sources of the site: ``python docs/site/stage.py FOLDER``; ``make docs`` runs Sphinx there.

The folder repeats the places of the repository, so that links between its pages need no change. The README is
the front page, and the zoo becomes a table that can be searched and sorted, with a card per family.
"""

import pathlib
import re
import shutil
import sys

import model_cards

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXTRA = ("CHANGELOG.md", "CONTRIBUTING.md", "custom_ops/README.md", "verification/README.md")

# Pages in the order in which they are read; those that nobody listed come under "More".
SECTIONS = {
    "Tutorials": ("docs/getting_started.md", "docs/fine_tuning.md", "docs/notebooks/*.ipynb"),
    "How to": (
        "docs/data.md",
        "docs/debugging.md",
        "docs/coming_from_mmdetection.md",
        "docs/checkpoints.md",
        "docs/scaling.md",
        "docs/serving.md",
        "docs/tflite.md",
        "docs/onnx.md",
        "docs/xla.md",
        "docs/extending/*.md",
    ),
    "Models": ("docs/zoo.md", "docs/zoo/index.md"),
    "Reference": ("docs/api/kdet/index",),
    "How it is built": (
        "docs/architecture.md",
        "docs/contract.md",
        "docs/parity.md",
        "docs/conditioning.md",
        "docs/small_goldens.md",
        "custom_ops/README.md",
        "verification/README.md",
    ),
    "Benchmarks": ("benchmarks/*.md",),
    "More": ("docs/**/*.md",),
    "Project": ("CHANGELOG.md", "CONTRIBUTING.md"),
}
MADE = ("docs/zoo/index.md", "docs/api/kdet/index")  # by model_cards and by autoapi


def pages() -> dict[str, list[str]]:
    """``{section: pages}``, paths from the root of the repository, each page once."""
    seen: set[str] = set()
    found = {}
    for section, patterns in SECTIONS.items():
        matched = []
        for pattern in patterns:
            here = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))
            matched += [pattern] if pattern in MADE else [path for path in here if path not in seen]
            seen.update(matched)
        if matched:
            found[section] = matched
    return found


def navigation() -> str:
    """The tables of contents behind the front page."""
    blocks = []
    for section, members in pages().items():
        lines = "\n".join(path.removesuffix(".md").removesuffix(".ipynb") for path in members)
        blocks.append(f"```{{toctree}}\n:hidden:\n:caption: {section}\n\n{lines}\n```\n")
    return "\n".join(blocks)


def linked_files(page: pathlib.Path) -> list[pathlib.Path]:
    """Files of the repository that a page links to or shows and that are no pages."""
    targets = re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    found = [(page.parent / target).resolve() for target in targets if "://" not in target]
    return [path for path in found if path.is_file() and path.suffix != ".md" and ROOT in path.parents]


def stage(folder: pathlib.Path) -> None:
    """Fills ``folder``, which is emptied before."""
    shutil.rmtree(folder, ignore_errors=True)
    listed = [ROOT / path for members in pages().values() for path in members if path not in MADE]
    for page in [*listed, ROOT / "README.md"]:
        for path in [page, *linked_files(page)]:
            place = folder / path.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)
    readme = folder / "README.md"
    (folder / "index.md").write_text(
        readme.read_text(encoding="utf-8") + "\n" + navigation(), encoding="utf-8"
    )
    readme.unlink()
    model_cards.write(ROOT / "docs", folder / "docs")


if __name__ == "__main__":
    stage(pathlib.Path(sys.argv[1]).resolve())
