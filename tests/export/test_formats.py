"""Formats are registered under their names; names and options are checked before anything is written."""

import json

import pytest

from kdet.export import export_detector, format_names, formats, register_format


@pytest.fixture
def json_format(monkeypatch):
    for name in format_names():  # modules register once
        formats.find_format(name)
    monkeypatch.setattr(formats, "_FORMATS", dict(formats._FORMATS))

    @register_format("json", "text", title=".json")
    def export_json(model, path, indent=2):
        path.write_text(json.dumps({"model": model}, indent=indent))
        return path

    return export_json


def test_a_registered_format_writes_under_all_its_names(json_format, tmp_path):
    for name in ("json", "text"):
        assert export_detector("detector", tmp_path / "a.json", name, indent=None) == tmp_path / "a.json"
        assert (tmp_path / "a.json").read_text() == '{"model": "detector"}'
    assert {"json", "text", "saved_model", "litert"} <= set(format_names())


def test_options_and_kind_of_path_are_checked(json_format, tmp_path):
    with pytest.raises(
        TypeError, match="'json' has no option 'masks'; it is an option of format='saved_model'"
    ):
        export_detector("detector", tmp_path / "a.json", "json", masks="box")
    with pytest.raises(IsADirectoryError, match="name a .json file in it"):
        export_detector("detector", tmp_path, "json")


def test_a_name_has_one_format(json_format):
    def export_other(model, path):
        return path

    export_other.__module__ = "somewhere.else"
    with pytest.raises(ValueError, match="Two exporters are registered as 'json'"):
        register_format("json")(export_other)
    with pytest.raises(ValueError, match="not 'jsn'. Did you mean 'json'"):
        formats.find_format("jsn")
