"""The configuration of a server, read with TensorFlow Serving's own messages."""

import pathlib

import pytest
import tensorflow as tf
import yaml
from google.protobuf import text_format

from kdet import cli
from kdet.errors import KdetError, MissingFile
from kdet.export import serving_config

REASON = "tensorflow-serving-api is not installed (it is in the extra 'serving')"


@pytest.fixture
def models(tmp_path):
    """Two models, one in two versions, and what is none."""
    for name in ("cells/1", "cells/10", "cells/9", "cars/3", "notes/last"):
        folder = tmp_path / "served" / name
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").touch()
    return tmp_path / "served"


def test_models_are_found_with_their_versions_in_order(models, tmp_path):
    found = serving_config.find_models(models)
    assert {name: [path.name for path in versions] for name, versions in found.items()} == {
        "cars": ["3"],
        "cells": ["1", "9", "10"],
    }
    with pytest.raises(MissingFile, match="holds no models; they are looked for at .*/NAME/VERSION"):
        serving_config.find_models(tmp_path)


def test_the_server_can_read_its_files(models, tmp_path):
    config = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2", reason=REASON)
    out = tmp_path / "serving"
    batching = serving_config.Batching(max_batch_size=6, timeout_ms=2.5, threads=3)
    written = serving_config.write_config(models, out, batching, ports=(9000, 9001))
    assert sorted(path.name for path in written) == ["batching.config", "docker-compose.yml", "models.config"]
    served = text_format.Parse((out / "models.config").read_text(), config.ModelServerConfig())
    assert [(one.name, one.base_path) for one in served.model_config_list.config] == [
        ("cars", "/models/cars"),
        ("cells", "/models/cells"),
    ]
    assert (out / "batching.config").read_text().splitlines() == [
        "max_batch_size { value: 6 }",
        "batch_timeout_micros { value: 2500 }",
        "max_enqueued_batches { value: 100 }",
        "num_batch_threads { value: 3 }",
        "allowed_batch_sizes: 1",
        "allowed_batch_sizes: 2",
        "allowed_batch_sizes: 4",
        "allowed_batch_sizes: 6",
    ]
    service = yaml.safe_load((out / "docker-compose.yml").read_text())["services"]["kdet"]
    assert service["ports"] == ["9000:8500", "9001:8501"] and service["image"] == "tensorflow/serving"
    assert [mount.split(":")[1] for mount in service["volumes"]] == [
        "/models",
        "/config/models.config",
        "/config/batching.config",
    ]
    for mount in service["volumes"]:
        assert pathlib.Path(mount.split(":")[0]).exists()
    assert "--enable_batching=true" in service["command"]
    serving_config.write_config(models, tmp_path / "one", None)
    assert not (tmp_path / "one" / "batching.config").exists()
    assert "batching" not in (tmp_path / "one" / "docker-compose.yml").read_text()


@pytest.mark.parametrize(
    "settings, text",
    [
        ({"max_batch_size": 0}, "max_batch_size must be at least 1, not 0"),
        ({"timeout_ms": -1.0}, "timeout_ms must be between 0 and 60000, not -1.0"),
        ({"threads": 0}, "threads must be at least 1, not 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, text):
    with pytest.raises(KdetError, match=text):
        serving_config.Batching(**settings)


def test_warm_up_requests_are_requests_of_the_signature(models):
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason=REASON)
    path = serving_config.write_warm_up(models / "cells" / "10", [(24, 32), (32, 24)], [1, 2])
    assert path == models / "cells" / "10" / "assets.extra" / "tf_serving_warmup_requests"
    requests = [
        logs.PredictionLog.FromString(record.numpy()).predict_log.request
        for record in tf.data.TFRecordDataset(str(path))
    ]
    shapes = []
    for request in requests:
        assert (request.model_spec.name, request.model_spec.signature_name) == ("cells", "serving_bytes")
        encoded = tf.make_ndarray(request.inputs["encoded"])
        shapes += [(len(encoded), *tf.io.decode_image(encoded[0]).shape)]
    assert shapes == [(1, 24, 32, 3), (2, 24, 32, 3), (1, 32, 24, 3), (2, 32, 24, 3)]
    with pytest.raises(MissingFile, match="is no SavedModel"):
        serving_config.write_warm_up(models / "cells" / "11", [(24, 32)])


def test_the_command_writes_all_of_it(models, tmp_path, capsys):
    pytest.importorskip("tensorflow_serving.apis", reason=REASON)
    out = tmp_path / "serving"
    assert cli.main(["serve-config", str(models), "--out", str(out), "--warm-up", "16x16"]) == 0
    said = capsys.readouterr().out
    assert f"docker compose -f {out / 'docker-compose.yml'} up" in said
    assert (models / "cars/3/assets.extra/tf_serving_warmup_requests").is_file()
    assert not (models / "cells/9/assets.extra").exists()
    assert cli.main(["serve-config", str(models), "--out", str(out), "--warm-up", "wide"]) == 2
    assert "not 'wide'" in capsys.readouterr().err
