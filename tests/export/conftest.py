import pytest

from kdet import convert
from kdet.config import Config
from verification import weights


@pytest.fixture(scope="session")
def generated():
    """Function (recipe, changes) -> a detector whose generated weights find something."""

    def build(recipe, changes):
        model = Config.load(recipe, changes).build("model")
        shapes = {key: slot.shape for key, slot in convert.torch_items(model).items()}
        convert.load_state_dict(model, weights.generate_all(shapes))
        return model

    return build
