"""Without the remarks of pydicom and highdicom on values against the standard: what matters is raised."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable

from attention_dmfnet.switch import OffWithin


def _ignore_warnings() -> Callable[[], object]:
    # Python has one list of filters for the whole process: threads that changed it by themselves would put back each
    # other's
    loud_again = contextlib.ExitStack()
    loud_again.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")
    return loud_again.close


quiet = OffWithin(_ignore_warnings)
"""A block without them, in any thread: ``with quiet:``."""
