"""Looking into models, their mistakes and their training: ``kdet analyze`` and ``kdet zoo info --flops``."""
