"""What kdet needs of Keras and TensorFlow beyond their public names, each with a test."""

import functools

import tensorflow as tf

# what makes a dataset out of a dataset
_DERIVING = (
    "apply", "batch", "cache", "concatenate", "enumerate", "filter", "map", "prefetch", "repeat", "shard",
    "shuffle", "skip", "take", "take_while", "unbatch", "with_options",
)  # fmt: skip


class WatchedDataset(tf.data.Dataset):
    """A dataset, and the datasets made of it, whose elements are fetched inside a context manager.

    (``_inputs`` is TensorFlow's name for what a dataset is made of; it has no public counterpart.)

    Args:
        data: the dataset.
        watch: makes a context manager for every fetch.
    """

    def __init__(self, data, watch):
        self._watched, self._watch = data, watch
        super().__init__(tf.data.experimental.to_variant(data))

    def _inputs(self):
        return [self._watched]

    @property
    def element_spec(self):
        return self._watched.element_spec

    def __iter__(self):
        if not tf.executing_eagerly():
            return super().__iter__()
        iterator = _watched_iterator()(self)
        iterator.watch = self._watch
        return iterator


@functools.cache
def _watched_iterator():
    """TensorFlow's class of iterators (it is not exported) with the fetch inside ``watch``."""

    class WatchedIterator(type(iter(tf.data.Dataset.range(1)))):
        watch = None

        def __next__(self):
            with self.watch():
                return super().__next__()

    return WatchedIterator


def _deriving(name):
    plain = getattr(tf.data.Dataset, name)

    @functools.wraps(plain)
    def derive(self, *arguments, **keywords):
        return WatchedDataset(plain(self, *arguments, **keywords), self._watch)

    return derive


for _name in _DERIVING:
    setattr(WatchedDataset, _name, _deriving(_name))


def watched_dataset(data, watch):
    """``data`` as a :class:`WatchedDataset`; inside a graph, where nothing is fetched, ``data`` itself."""
    return WatchedDataset(data, watch) if tf.executing_eagerly() else data
