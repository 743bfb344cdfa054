"""What can go wrong in an evaluation, told in one sentence."""


class EvaluationError(Exception):
    """An evaluation that cannot be finished."""


class ArgumentsError(Exception):
    """Arguments that cannot be used, whatever the files hold."""
