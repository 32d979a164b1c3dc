"""What the site says of families: every family of the zoo has its entry."""

import json
import pathlib

import yaml

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


def test_every_family_has_title_paper_and_idea():
    families = yaml.safe_load((DOCS / "families.yaml").read_text(encoding="utf-8"))
    models = json.loads((DOCS / "zoo.json").read_text(encoding="utf-8"))
    assert families.keys() == {model["family"] for model in models}
    for name, entry in families.items():
        assert entry["title"] and entry["idea"].endswith(".") and entry["paper"].startswith("https://"), name
