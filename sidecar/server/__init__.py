"""The composition root: listeners, workers, lifecycle."""
