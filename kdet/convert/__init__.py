"""Checkpoints of PyTorch / MMDetection in and out of kdet models, without PyTorch."""

from kdet.convert.state_dict import IncompleteStateDict, LoadReport, load_state_dict, state_dict
from kdet.convert.walk import TensorSlot, torch_items

__all__ = ["IncompleteStateDict", "LoadReport", "TensorSlot", "load_state_dict", "state_dict", "torch_items"]
