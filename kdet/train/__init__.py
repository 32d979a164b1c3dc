"""Training: optimizers with the published recipes' rule, schedules, the engine around ``model.fit``."""
