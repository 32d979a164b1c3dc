"""Lists of transforms as a recipe has them."""


def steps(**transforms):
    """``[{"type": name, **keywords}, ...]`` in the order of the arguments."""
    return [{"type": name, **keywords} for name, keywords in transforms.items()]
