"""A detector that computes in another precision."""

from typing import Any

import keras

from kdet.detectors import Detector

POLICIES = {"fp32": "float32", "bf16": "mixed_bfloat16", "fp16": "mixed_float16"}


def in_precision(model: Detector, dtype: str | None) -> Detector:
    """``model`` where it computes in ``dtype`` already, otherwise a copy that does, with its weights.

    Args:
        model: detector.
        dtype: None for the model as it is, or a key of `POLICIES`. Variables stay float32.
    """
    if dtype is not None and dtype not in POLICIES:
        raise ValueError(
            f"dtype of a SavedModel is one of {', '.join(POLICIES)}, not {dtype!r}; int8 is there for "
            "format='tflite'."
        )
    if dtype is None or model.dtype_policy.name == POLICIES[dtype]:
        return model
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES[dtype])
    try:
        copy = type(model).from_config(_without_policies(model.get_config()))
    finally:
        keras.config.set_dtype_policy(before)
    copy.set_weights(model.get_weights())
    return copy


def dtype_of(model: Detector) -> str:
    """The key of `POLICIES` that a detector computes in; the name of its policy where it is another."""
    name = model.dtype_policy.name
    return next((dtype for dtype, policy in POLICIES.items() if policy == name), name)


def _without_policies(config: Any) -> Any:
    """The config with the layers' dtype policies left out, so that new layers take the global one."""
    if isinstance(config, dict):
        return {k: _without_policies(v) for k, v in config.items() if not _is_policy(v)}
    if isinstance(config, (list, tuple)):
        return type(config)(_without_policies(v) for v in config)
    return config


def _is_policy(value: object) -> bool:
    return isinstance(value, dict) and value.get("class_name") == "DTypePolicy"
