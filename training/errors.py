"""What can go wrong in training, told in one sentence."""


class TrainingError(Exception):
    """A training command that cannot be carried out, or was stopped: what, where and what to do."""
