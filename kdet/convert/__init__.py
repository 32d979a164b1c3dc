"""Checkpoints of PyTorch / MMDetection in and out of kdet models, without PyTorch."""

from kdet.convert.checkpoint import Checkpoint, load_checkpoint, read_checkpoint
from kdet.convert.export import save_checkpoint
from kdet.convert.fetch import FetchError, fetch
from kdet.convert.keras_files import IncompleteWeights
from kdet.convert.load import check_file, is_address, load_file, load_imagenet, load_published
from kdet.convert.pretrained import load_pretrained
from kdet.convert.pth import read_pth
from kdet.convert.state_dict import IncompleteStateDict, LoadReport, load_state_dict, state_dict
from kdet.convert.walk import TensorSlot, torch_items
from kdet.errors import CheckpointError

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "FetchError",
    "IncompleteStateDict",
    "IncompleteWeights",
    "LoadReport",
    "TensorSlot",
    "fetch",
    "load_checkpoint",
    "check_file",
    "is_address",
    "load_file",
    "load_imagenet",
    "load_pretrained",
    "load_published",
    "load_state_dict",
    "read_checkpoint",
    "read_pth",
    "save_checkpoint",
    "state_dict",
    "torch_items",
]
