"""Draws of the reference that its goldens do not hold; read here and in the environment of PyTorch."""

# Factor of the places of DINOv3's patches in the training step (DEIMv2 L and X): what PyTorch 2.13 draws in
# float32 after the models of the goldens were made from seed 0.
ZOOM = 1.257727026939392
