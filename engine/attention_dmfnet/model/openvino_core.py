"""The module ``openvino``, imported without what the engine does not need of it, and its one ``Core``."""

import functools
import sys
from typing import Any

# OpenVINO imports its model converter on its own account, which forks this process to send a note about its use over
# the network and writes to the home folder. The engine needs neither; where a module is None, Python skips it.
if "openvino" not in sys.modules:
    sys.modules["openvino.tools"] = None  # type: ignore[assignment]

import openvino

if sys.modules.get("openvino.tools", openvino) is None:
    # whoever else in this process wants the converter may have it
    del sys.modules["openvino.tools"]


@functools.cache
def core() -> Any:
    """The one of this process: each would load the CPU plugin again."""
    return openvino.Core()
