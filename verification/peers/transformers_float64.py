"""Makes a golden of a detector of Transformers again in float64.

    PEER/bin/python verification/peers/transformers_float64.py --generator DIR --out FOLDER GOLDEN.npz ...

Runs in the environment of PyTorch and Transformers; DIR holds the program that made the goldens
(``make_golden_hf.py``). Weights, images and settings are those of the golden. ``check_parity.py --float64``
holds kdet against the results.

DEIM's union of matches gives a query that as many layers matched with one object as with another either of
them, by a sort that PyTorch leaves to the processor for ties. Here, as in kdet, it is the first.
"""

import functools
import sys

from draws import ZOOM
from in_float64 import make_torch_double, options_of, remake_all, remake_third


def main():
    options = options_of(__doc__, "make_golden_hf.py")
    sys.path.insert(0, options.generator)
    make_torch_double()  # before Transformers is imported
    make_sorting_stable()
    remake_all(options, remake)


def zoom_as_recorded():
    """Gives the patches of DINOv3 the factor that the goldens have; in float64 another would be drawn."""
    from transformers.models.dinov3_vit import modeling_dinov3_vit

    def zoomed(places, rescale=None, **_):
        return places if rescale is None else places * ZOOM

    modeling_dinov3_vit.augment_patches_center_coordinates = zoomed


def make_sorting_stable():
    import torch

    torch.argsort = functools.partial(torch.argsort, stable=True)


def remake(path, out):
    import make_golden_hf

    zoom_as_recorded()  # of Transformers as the generator imports it
    return remake_third(
        path, out, lambda meta, *args, **kwargs: make_golden_hf.compute(meta["name"], *args, **kwargs)
    )


if __name__ == "__main__":
    main()
