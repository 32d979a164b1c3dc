"""Runs a TFLite model and compares it with the detector that it came from."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kdet import compat
from kdet.export import flatbuffer
from kdet.export.compared import Bound, Difference, compare
from kdet.export.program import ExportError
from kdet.typing import Array


class Runner:
    """A TFLite model as a function: a batch of ``images`` (and ``proposals``) -> Detections in NumPy.

    Args:
        content: bytes of the flatbuffer, with TFLite's own ops only.
        keep_all: keep the value of every tensor, at the cost of speed and memory.
    """

    def __init__(self, content: bytes, keep_all: bool = False) -> None:
        self.content = content
        module = _interpreters()
        options: dict[str, Any] = {}
        if keep_all:
            plain = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            options = dict(experimental_preserve_all_tensors=True, experimental_op_resolver_type=plain)
        self.interpreter = module.Interpreter(model_content=content, **options)
        self.run = self.interpreter.get_signature_runner()

    def __call__(self, images: Array, **proposals: Any) -> dict[str, Array]:
        return self.run(images=np.asarray(images), **proposals)

    def holds_nan(self) -> bool:
        """True where the last run computed something that is not a number."""
        operators = flatbuffer.read(self.content).subgraphs[0].operators
        computed = {index for operator in operators for index in operator.outputs}  # no constants
        for tensor in self.interpreter.get_tensor_details():
            if tensor["index"] in computed and np.issubdtype(tensor["dtype"], np.floating):
                try:
                    value = self.interpreter.get_tensor(tensor["index"])
                except ValueError:  # tensors of a branch that did not run have no value
                    continue
                if np.isnan(value).any():
                    return True
        return False


def _interpreters() -> Any:
    """LiteRT where it is installed, else what TensorFlow brings along."""
    try:
        return importlib.import_module("ai_edge_litert.interpreter")
    except ImportError:
        return compat.tflite().interpreter


def check(
    name: str,
    content: bytes,
    function: Callable[..., Any],
    batches: Sequence[Array],
    bound: Bound,
    **proposals: Array,
) -> Difference:
    """Runs a TFLite model beside the function that it was made of.

    Args:
        name: of the model, for the error.
        content: bytes of the flatbuffer.
        function, batches, bound, **proposals: see `compare`.

    Returns:
        ``Difference`` over all images.

    Raises:
        ExportError: values that are not numbers, or a difference beyond the bound.
    """
    title = f"{name}: the exported TFLite model"
    total = compare(title, Runner(content), function, batches, bound, **proposals)
    if not total.found:  # NaN never passes a score threshold: nothing found is no proof
        runner = Runner(content, keep_all=True)
        runner(batches[0], **proposals)
        if runner.holds_nan():
            raise ExportError(f"{name}: the exported TFLite model computes NaN inside; it was not written.")
    return total
