"""What every command of this package raises."""


class ExportError(Exception):
    """A file that cannot be made or must not be published: the sentence says which, why, and what to do."""
