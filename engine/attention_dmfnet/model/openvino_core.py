"""The compiled half of the package ``openvino``, and its one ``Core``.

Its Python half brings opsets, frontends and tools of which the engine needs none: 30 CPU-milliseconds of every cold
start, and a model converter that forks this process to send a note about its use over the network. So the compiled half
is imported alone; where a version of OpenVINO does not have it in the known place, the whole package is.
"""

import contextlib
import functools
import importlib
import importlib.util
import sys
import types
from typing import Any, Final


def whole_package() -> Any:
    """The package itself, without its model converter; what simplifies a network's graph takes its types alone."""
    converter = "openvino.tools"
    absent = converter not in sys.modules
    if absent:
        # where a module is None, Python skips it
        sys.modules[converter] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    finally:
        if absent:
            # whoever else in this process wants the converter may have it
            del sys.modules[converter]


def _compiled_half() -> Any:
    name = "openvino._pyopenvino"
    # where another thread is importing the whole, that is waited for, and not taken away
    begun = name in sys.modules or "openvino" in sys.modules
    if not begun and (found := importlib.util.find_spec("openvino")) is not None:
        # a package of the same name and place, whose own code does not run
        empty = types.ModuleType("openvino")
        # another thread, which loads other models, may ask meanwhile whether OpenVINO is installed
        empty.__spec__ = found
        empty.__path__ = list(found.submodule_search_locations or ())
        sys.modules["openvino"] = empty
        try:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        finally:
            del sys.modules["openvino"]
    return sys.modules.get(name) or whole_package()


half: Final = _compiled_half()


@functools.cache
def core() -> Any:
    """The one of this process: each would load the CPU plugin again."""
    return half.Core()
