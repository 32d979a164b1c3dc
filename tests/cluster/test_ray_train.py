"""Two workers of Ray, one of which is killed on the way, end with the weights of one device."""

import h5py
import numpy as np
import pytest

from kdet.cluster import Workers, train_on_ray
from kdet.config import Config
from kdet.convert.keras_files import file_shapes
from kdet.errors import KdetError
from kdet.train.engine import train
from tests.train.run_engine import write_data, write_recipe

KILLER = '''
import json, os, pathlib, signal
import keras
from kdet.registry import register

@register
class KillOnce(keras.callbacks.Callback):
    """Kills the process of the second worker after its fourth step, unless that was done before."""

    def __init__(self, mark: str) -> None:
        super().__init__()
        self.mark, self.steps = pathlib.Path(mark), 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        index = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {}).get("index")
        if index == 1 and self.steps == 4 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    (folder / "killer.py").write_text(KILLER)
    path = write_recipe(folder)
    mark = f"{{type: KillOnce, mark: {folder}/killed}}"
    path.write_text(f"imports: [killer.py]\n{path.read_text()}  callbacks: [{mark}]\n")
    return path


def weights(folder):
    with h5py.File(folder / "final.weights.h5") as file:
        return {name: np.array(file[name]) for name in file_shapes(file)}


def test_workers_equal_one_device_though_one_was_killed(cluster, recipe, tmp_path, capsys):
    train(Config.load(recipe), tmp_path / "one", strategy="one", verbose=0)
    train_on_ray(Config.load(recipe), tmp_path / "two", Workers(workers=2))
    assert (recipe.parent / "killed").exists()
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys() and len(one) > 50
    for name, value in one.items():
        # sums over two workers round differently; six steps of SGD
        np.testing.assert_allclose(two[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    lines = [line for line in capsys.readouterr().out.splitlines() if '"epoch"' in line]
    assert len(lines) == 2  # one of each epoch, from the chief


def test_what_the_cluster_has_not_is_said_at_once(cluster, recipe, tmp_path):
    with pytest.raises(KdetError, match=r"2 workers of 1 GPUs need 2; the cluster has 0"):
        train_on_ray(Config.load(recipe), tmp_path / "run", Workers(workers=2, gpus=1))
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "step_00000001.weights.h5").touch()
    with pytest.raises(KdetError, match="already holds checkpoints"):
        train_on_ray(Config.load(recipe), tmp_path / "run", Workers())
