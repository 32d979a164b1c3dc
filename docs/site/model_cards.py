"""The zoo of the site: one table of all models, and a card per family.

Both are made of ``docs/zoo.json`` (``python -m verification.zoo_table`` writes it from the recipes and the
results of the verification) and ``docs/families.yaml`` (titles, papers, ideas).
"""

import itertools
import json
import pathlib
from typing import Any

import yaml

Record = dict[str, Any]
DATA_SETS = {"lvis": "LVIS", "cityscapes": "Cityscapes", "pascal_voc": "Pascal VOC"}
DATA_SETS |= {"wider_face": "WIDER FACE", "deepfashion": "DeepFashion"}


CARD = """# {title}

{idea}

- **Paper**: <{paper}>
- **Tasks**: {tasks}
- **Detector**: {detectors} in `kdet.detectors`
- **Recipes**: {recipes}
- **Data**: trained on {data}; its licenses are those of its owners
- **License**: code and recipes Apache-2.0; the published weights come from the reference (Apache-2.0)

## Load

```python
import kdet

detector = kdet.zoo.load("{first}")
results = detector.predict(["street.jpg"])
```

```bash
kdet predict {first} street.jpg --out found/
```

With your own classes: [fine-tuning](../fine_tuning.md). Out of Python: [serving](../serving.md),
[TFLite](../tflite.md), [ONNX and OpenVINO](../onnx.md).

## Models

Figures are the reference's, published with its weights and measured there: AP in percent, or AR at 1000
proposals where noted, and images per second on its GPU. What kdet proves, parity and exports, is explained at
[the zoo](../zoo.md).

| model | backbone | task | AP box | AP mask | parameters (M) | images/s | parity | exports | weights |
|-|-|-|-|-|-|-|-|-|-|
{rows}
"""


def write(docs: pathlib.Path, out: pathlib.Path) -> None:
    """Writes ``zoo.md`` and ``zoo/*.md`` to ``out`` from the files in ``docs``.

    Raises:
        ValueError: a family has no entry in ``families.yaml``, or an entry has no recipes.
    """
    records = json.loads((docs / "zoo.json").read_text(encoding="utf-8"))
    families = yaml.safe_load((docs / "families.yaml").read_text(encoding="utf-8"))
    odd = sorted({record["family"] for record in records} ^ set(families))
    if odd:
        raise ValueError(
            f"families.yaml and zoo.json disagree about {', '.join(odd)}: edit docs/families.yaml"
        )
    (out / "zoo").mkdir(parents=True, exist_ok=True)
    (out / "zoo.md").write_text(
        _zoo((docs / "zoo.md").read_text(encoding="utf-8"), records), encoding="utf-8"
    )
    for family, members in itertools.groupby(records, key=lambda record: record["family"]):
        text = _card(family, families[family], list(members))
        (out / "zoo" / f"{family}.md").write_text(text, encoding="utf-8")
    (out / "zoo" / "index.md").write_text(_index(records, families), encoding="utf-8")


def _zoo(page: str, records: list[Record]) -> str:
    """The committed page with one table in the place of a table per family."""
    head, _, rest = page.partition("\n## ")
    _, marker, failures = rest.partition("\n## What does not export")
    rows = [
        f"| [{r['name']}](zoo/{r['family']}.md) | {r['family']} | {r['task']} | {_ap(r, 'box_ap')} | "
        f"{_ap(r, 'mask_ap')} | {_millions(r)} | {r['parity']} | {_exports(r)} |"
        for r in records
    ]
    table = [
        "| model | family | task | AP box | AP mask | parameters (M) | parity | exports |",
        "|" + "-|" * 8,
    ]
    wrapped = ":::{table}\n:class: zoo\n\n" + "\n".join([*table, *rows]) + "\n:::\n"
    return f"{head}\nA click on a column's title sorts by it.\n\n{wrapped}{marker}{failures}"


def _index(records: list[Record], families: dict[str, dict[str, str]]) -> str:
    sizes = {family: sum(record["family"] == family for record in records) for family in families}
    ordered = sorted(families, key=lambda family: families[family]["title"].lower())
    rows = [f"| [{families[f]['title']}]({f}.md) | {sizes[f]} | {families[f]['idea']} |" for f in ordered]
    names = "\n".join(ordered)
    return (
        "# Model cards\n\nOne page per family: the idea, the paper, the models and how to load them.\n\n"
        "| family | recipes | idea |\n|-|-|-|\n"
        + "\n".join(rows)
        + f"\n\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"
    )


def _card(family: str, about: dict[str, str], members: list[Record]) -> str:
    best = max(members, key=lambda record: record.get("box_ap", 0))
    first = min(members, key=lambda record: (record["parity"] == "", record.get("parameters", 1 << 62)))
    detectors = ", ".join(f"`{name}`" for name in sorted({record["detector"] for record in members}))
    rows = [
        f"| `{r['name']}` | {r['backbone']} | {r['task']} | {_ap(r, 'box_ap') or _recall(r)} | "
        f"{_ap(r, 'mask_ap')} | {_millions(r)} | {r.get('fps', '')} | "
        f"{r['parity']} | {_exports(r)} | {_weights(r)} |"
        for r in members
    ]
    highest = f"; highest box AP `{best['name']}` ({best['box_ap']:.1f})" if "box_ap" in best else ""
    return CARD.format(
        **about,
        tasks=", ".join(sorted({record["task"] for record in members})),
        detectors=detectors,
        recipes=f"{len(members)} in `configs/{family}/`{highest}",
        data=DATA_SETS.get(family, "COCO"),
        first=first["name"],
        rows="\n".join(rows),
    )


def _ap(record: Record, key: str) -> str:
    return f"{record[key]:.1f}" if key in record else ""


def _recall(record: Record) -> str:
    return f"AR {record['ar1000']:.1f}" if "ar1000" in record else ""


def _millions(record: Record) -> str:
    return f"{record['parameters'] / 1e6:.1f}" if "parameters" in record else ""


def _exports(record: Record) -> str:
    made = record["exports"]
    return ", ".join(f"~~{kind}~~" if made[kind].startswith("fails") else kind for kind in sorted(made))


def _weights(record: Record) -> str:
    return f"[{record['sha256']}]({record['checkpoint']})" if "checkpoint" in record else ""
