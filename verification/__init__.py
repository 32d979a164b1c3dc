"""Reference numbers ("goldens"): reading them, comparing a model with them, reporting."""
