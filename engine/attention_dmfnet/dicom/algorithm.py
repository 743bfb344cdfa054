"""What DICOM's objects say of the program that made them. Imports nothing, so that a run can name itself early."""

from typing import NamedTuple


class Algorithm(NamedTuple):
    """The program's ``version``, and ``model_hash``, the SHA-256 of the manifest, which holds those of the networks."""

    version: str
    model_hash: str
