"""Stub libraries of CUDA 13, enough for the real ``onnxruntime-gpu`` to start sessions and to go through a network.

Nothing is computed: kernels are not run, and "device memory" is host memory that is never looked into. So what can be
seen is what ONNX Runtime decides and asks for: which options it takes, where it puts each node, how much memory it
allocates when. Speed, accuracy and cuDNN's own memory cannot be seen.
"""

import re
import subprocess
from collections import defaultdict
from pathlib import Path

FUNCTIONS = Path(__file__).with_name("functions.c")
DRIVER = "libcuda.so.1"

_VERSIONED = ("libcublas.so.13", "libcublasLt.so.13", "libcudart.so.13")
# what the provider loads by name when it needs it, so that its symbols are not among those it asks the linker for
_LOADED_LATER = {"libcudnn.so.9": r"cudnn[A-Z]\w+", "libcufft.so.12": r"cufft[A-Z]\w+"}


def build_stubs(onnxruntime: Path, to: Path) -> None:
    """Compile into ``to`` a library of functions that return 0 for each that ``onnxruntime``'s CUDA provider needs.

    Those in ``functions.c`` do a little more. Needs a C compiler, readelf and strings, which come with it.
    """
    (provider,) = (onnxruntime / "capi").glob("libonnxruntime_providers_cuda.so*")
    by_hand = set(re.findall(r"^(?!static)\w[\w *]*?\b(\w+)\(", FUNCTIONS.read_text(), re.MULTILINE))
    for library, names in _needed(provider).items():
        source = to / f"{library}.c"
        lines = [f'#include "{FUNCTIONS}"', *(f"long {name}() {{ return 0; }}" for name in sorted(names - by_hand))]
        source.write_text("\n".join(lines) + "\n")
        command = ["cc", "-shared", "-fPIC", "-w", "-o", str(to / library), str(source), f"-Wl,-soname,{library}"]
        if library in _VERSIONED:
            (to / f"{library}.map").write_text(f"{library} {{ global: *; }};\n")
            command.append(f"-Wl,--version-script={to / library}.map")
        subprocess.run(command, check=True)


def _needed(provider: Path) -> dict[str, set[str]]:
    """The functions that the provider wants of each library."""
    needed: dict[str, set[str]] = defaultdict(set)
    for library in re.findall(r"NEEDED.*\[(libcu.*)\]", _output("readelf", "-d", provider)):
        needed[library] = set()
    for name in re.findall(r"\bUND\s+(\S+)", _output("readelf", "-W", "--dyn-syms", provider)):
        symbol, _, version = name.partition("@")
        version = version.lstrip("@")
        if version in _VERSIONED:
            needed[version].add(symbol)
        elif re.match(r"cu[A-Z]", symbol):
            needed[DRIVER].add(symbol)
    words = _output("strings", "-a", provider).split()
    for library, pattern in _LOADED_LATER.items():
        needed[library] = {word for word in words if re.fullmatch(pattern, word)}
    return needed


def _output(*command: object) -> str:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
