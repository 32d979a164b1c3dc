"""Programs that run beside kdet: the reference, and what a user might take instead."""
