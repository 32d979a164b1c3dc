"""Downloads from a server on this machine; nothing leaves it."""

import hashlib
import http.server
import threading

import numpy as np
import pytest

from kdet import convert
from kdet.config import Config
from kdet.convert import cache
from kdet.convert.fetch import FetchError, fetch
from kdet.convert.pretrained import load_pretrained, resolve
from kdet.convert.pth_writer import write_pth
from tests.convert.test_checkpoint import as_1x, assert_holds


class Server:
    """Serves ``files`` (name -> bytes); a name in ``cut`` breaks off half-way."""

    def __init__(self):
        self.files, self.cut, self.requests = {}, set(), []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.strip("/")
                server.requests.append(name)
                data = server.files.get(name)
                self.send_response(200 if data is not None else 404)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                if data is not None:
                    self.wfile.write(data[: len(data) // 2] if name in server.cut else data)

            def log_message(self, *args):
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self._http.server_port}/"

    def close(self):
        self._http.shutdown()
        self._http.server_close()

    def publish(self, stem, tree, tmp_path):
        """The address of ``tree`` as a published file, its hash in its name."""
        write_pth(tmp_path / "unpublished.pth", tree)
        data = (tmp_path / "unpublished.pth").read_bytes()
        name = f"{stem}-{hashlib.sha256(data).hexdigest()[:8]}.pth"
        self.files[name] = data
        return self.address + name


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    yield server
    server.close()


def files_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_downloads_once_and_checks_the_hash(server, tmp_path, cache_home):
    address = server.publish("model", {"a": np.ones(2)}, tmp_path)
    path = fetch(address)
    assert path.parent == cache_home / "checkpoints" and path.name in address
    assert fetch(address) == path and len(server.requests) == 1
    path.write_bytes(b"damaged")
    with pytest.raises(FetchError, match="is damaged. Delete it"):
        fetch(address)


def test_wrong_hash_leaves_nothing(server, cache_home):
    server.files["model-01234567.pth"] = b"something else"
    with pytest.raises(FetchError, match=r"damaged or cut off.*the name says 01234567"):
        fetch(server.address + "model-01234567.pth")
    assert files_in(cache_home) == []


def test_interrupted_download_leaves_nothing(server, tmp_path, cache_home):
    address = server.publish("model", {"a": np.ones(9999)}, tmp_path)
    server.cut.update(server.files)
    with pytest.raises(FetchError, match="could not be downloaded|damaged or cut off"):
        fetch(address)
    assert files_in(cache_home) == []
    server.cut.clear()
    assert fetch(address).is_file()


def test_missing_file_and_no_network_say_so(server):
    with pytest.raises(FetchError, match="could not be downloaded: the server answers 404"):
        fetch(server.address + "gone-01234567.pth")
    with pytest.raises(FetchError, match=r"Check the network.*put the file at .*checkpoints"):
        fetch("http://127.0.0.1:9/model-01234567.pth")


def test_unwritable_cache_names_the_variable(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file where the cache folder should be")
    monkeypatch.setenv("KDET_HOME", str(tmp_path / "file" / "kdet"))
    with pytest.raises(FetchError, match="cannot be written.*KDET_HOME"):
        fetch(server.address + "model-01234567.pth")
    assert server.requests == []


def config_for(address, **metadata):
    return Config({"model": {}, "metadata": {"checkpoint": address, **metadata}})


def test_published_weights_come_from_the_converted_cache(server, toys, tmp_path, cache_home):
    model = toys.detector()
    state = toys.state(model)
    config = config_for(server.publish("toy", {"state_dict": state}, tmp_path))
    assert convert.load_published(model, config).filled == len(state)
    (converted,) = (cache_home / "converted").iterdir()
    for path in (cache_home / "checkpoints").iterdir():
        path.unlink()
    again = toys.detector()
    assert convert.load_published(again, config).filled == len(again.weights)
    for name, array in convert.state_dict(again).items():
        np.testing.assert_array_equal(array, state[name])
    assert len(server.requests) == 1
    converted.write_bytes(converted.read_bytes()[:-4])  # damaged: converted anew
    convert.load_published(toys.detector(), config)
    assert len(server.requests) == 2


def test_a_recipe_of_a_1x_family_reads_any_file_as_1x(server, toys, tmp_path):
    model = toys.detector()
    state = toys.state(model)
    stored = {"meta": {"mmdet_version": "2.0.0"}, "state_dict": as_1x(state)}
    address = server.publish("toy", stored, tmp_path)
    with pytest.raises(convert.IncompleteStateDict):
        convert.load_published(model, config_for(address, family="mask_rcnn"))
    convert.load_published(model, config_for(address, family="legacy_1.x"))
    assert_holds(model, state)


def test_failed_conversion_leaves_no_converted_file(server, toys, tmp_path, cache_home):
    config = config_for(server.publish("toy", toys.state(toys.backbone()), tmp_path))
    with pytest.raises(convert.IncompleteStateDict):
        convert.load_published(toys.detector(), config)
    with pytest.raises(FetchError, match="No weights were published"):
        convert.load_published(toys.detector(), Config({"model": {}}))
    assert not (cache_home / "converted").exists()


def test_partial_load_is_not_cached(server, toys, tmp_path, cache_home):
    config = config_for(server.publish("toy", toys.state(toys.detector(classes=5)), tmp_path))
    report = convert.load_published(toys.detector(classes=2), config, allow_mismatch=True)
    assert len(report.mismatched) == 6 and not (cache_home / "converted").exists()
    assert convert.load_file(toys.detector(classes=5), config["metadata"]["checkpoint"]).mismatched == {}


def test_converted_file_of_other_layouts_is_refused(toys, tmp_path):
    model = toys.detector()
    cache.save_weights(model, tmp_path / "w.safetensors")
    assert cache.load_weights(model, tmp_path / "w.safetensors")
    assert not cache.load_weights(toys.detector(classes=4), tmp_path / "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(data.replace(b"linear", b"l1near"))
    assert not cache.load_weights(model, tmp_path / "w.safetensors")


def test_unwritable_converted_folder_still_converts(server, toys, tmp_path, cache_home, caplog):
    model = toys.detector()
    state = toys.state(model)
    cache_home.mkdir()
    (cache_home / "converted").write_text("a file where the folder should be")
    convert.load_published(model, config_for(server.publish("toy", state, tmp_path)))
    assert "are not kept" in caplog.text
    np.testing.assert_array_equal(convert.state_dict(model)["backbone.bn1.bias"], state["backbone.bn1.bias"])


def test_pretrained_backbone_leaves_out_the_classifier(toys, tmp_path):
    backbone = toys.backbone()
    state = {**toys.state(backbone), "fc.weight": np.ones((5, 4)), "layer4.0.conv1.weight": np.ones(3)}
    write_pth(tmp_path / "resnet.pth", state)
    assert load_pretrained(backbone, tmp_path / "resnet.pth").left_over == ()
    np.testing.assert_array_equal(convert.state_dict(backbone)["bn1.bias"], state["bn1.bias"])


@pytest.mark.parametrize("in_file, in_model", [(2, 1), (1, 2)])
def test_pretrained_file_of_another_depth_fails(toys, tmp_path, in_file, in_model):
    write_pth(tmp_path / "resnet.pth", toys.state(toys.backbone(blocks=in_file)))
    with pytest.raises(convert.IncompleteStateDict, match="layer1.1.conv1.weight"):
        load_pretrained(toys.backbone(blocks=in_model), tmp_path / "resnet.pth")


def test_imagenet_fills_what_the_recipe_names(toys, tmp_path):
    model = toys.detector()
    state = {f"backbone.{k}": v for k, v in toys.state(model.backbone).items()}
    write_pth(tmp_path / "cls.pth", {**state, "head.fc.weight": np.ones(3)})
    config = Config({"model": {"type": "Toy", "backbone": {"pretrained": str(tmp_path / "cls.pth")}}})
    assert list(convert.load_imagenet(model, config)) == ["backbone"]
    np.testing.assert_array_equal(
        convert.state_dict(model)["backbone.conv1.weight"], state["backbone.conv1.weight"]
    )
    with pytest.raises(ValueError, match="names no pretrained weights"):
        convert.load_imagenet(model, Config({"model": {"type": "Toy"}}))


def test_unknown_pretrained_name_lists_the_known_ones():
    assert resolve("torchvision://resnet50").endswith("resnet50-0676ba61.pth")
    with pytest.raises(FetchError, match="torchvision://resnet51.*torchvision://resnet50"):
        resolve("torchvision://resnet51")


def test_files_on_a_hub_have_the_models_name(server, cache_home, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    server.files["user/model/resolve/main/model.safetensors"] = b"weights"
    path = fetch("hf://user/model/model.safetensors")
    assert path == cache_home / "checkpoints" / "user--model--model.safetensors"
    assert path.read_bytes() == b"weights"
    monkeypatch.setenv("KDET_MIRROR", str(path.parent))
    path.rename(path.with_name("user--other--model.safetensors"))
    assert fetch("hf://user/other/model.safetensors").name == "user--other--model.safetensors"
    for wrong in ("hf://user/model", "hf://user/model/../x"):
        with pytest.raises(FetchError, match="looks like hf://user/model/model.safetensors"):
            fetch(wrong)
