"""Training and prediction on many machines, by Ray."""

from kdet.cluster.ray_predict import predict_dataset, predict_paths
from kdet.cluster.ray_start import Workers, started
from kdet.cluster.ray_train import train_on_ray

__all__ = ["Workers", "predict_dataset", "predict_paths", "started", "train_on_ray"]
