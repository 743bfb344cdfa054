"""Networks as OpenVINO reads them fastest, made once where the engine is installed.

    python -m attention_dmfnet.model.openvino_graphs [MODELS]

An ONNX model costs each cold start a third of its compiling: its weights are widened and folded, and its graph is
simplified, the same way every time and on every kind of CPU. The result is kept beside the models in OpenVINO's own
format (IR). It belongs to exactly the files that the manifest names and to one version of OpenVINO; where it does not
fit, the ONNX model is taken as ever.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import numpy.typing as npt

from attention_dmfnet.json_text import JsonError, decode_json
from attention_dmfnet.model.external_data import read_model
from attention_dmfnet.model.network import LoadError
from attention_dmfnet.model.openvino_core import half, whole_package

if TYPE_CHECKING:
    from attention_dmfnet.model.manifest import Manifest, Stage, Variant

FOLDER: Final = ".openvino"
"""Within the folder of models; its name is hidden, so that no copy of the models takes it along by accident."""

_INDEX: Final = "index.json"
_MAKE_AGAIN: Final = "delete that folder, or make it again with `python -m attention_dmfnet.model.openvino_graphs`"
# Both parts begin at a multiple of so many bytes of the file; the first of them say how long the graph is.
_BEGIN: Final = 64


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network that is kept, by the sha256 of what it was made from and of its own file."""

    made_from: tuple[str, ...]
    sha256: str


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is in the folder, by the file of the ONNX model."""

    openvino: str
    networks: dict[str, Kept]


def keep_graphs(models: Path, manifest: Manifest) -> list[Path]:
    """Make the kept form of each float32 network of ``manifest`` in ``models``; returns the files, the index last.

    bfloat16 is the same file, computed otherwise. Raises ``LoadError`` and ``OSError``.
    """
    folder = models / FOLDER
    folder.mkdir(exist_ok=True)
    # first, and written last: without it, nothing in the folder is looked at
    (folder / _INDEX).unlink(missing_ok=True)
    networks: dict[str, Kept] = {}
    paths: list[Path] = []
    for stage in (manifest.coarse, manifest.fine):
        for variant in stage.variants:
            if variant.precision != "float32" or variant.plan is not None or variant.file in networks:
                continue
            content = _simplified(read_model(models, stage, variant))
            paths.append(_path(folder, variant))
            paths[-1].write_bytes(content)
            networks[variant.file] = Kept(_made_from(stage, variant), hashlib.sha256(content).hexdigest())
    paths.append(folder / _INDEX)
    # whole or not there: a part of it would be refused at every start
    part = folder / f"{_INDEX}.partial"
    part.write_bytes(msgspec.json.encode(Index(half.get_version(), networks)))
    part.replace(paths[-1])
    return paths


def kept_graph(models: Path, stage: Stage, variant: Variant) -> npt.NDArray[np.uint8] | None:
    """The kept form of ``variant``, or None where there is none of just these files and this version of OpenVINO.

    Raises ``LoadError`` for a file that is not what was written.
    """
    folder = models / FOLDER
    try:
        index = decode_json((folder / _INDEX).read_bytes(), Index)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LoadError(f"cannot read {folder / _INDEX}: {error.strerror}; {_MAKE_AGAIN}") from error
    except JsonError as error:
        raise LoadError(f"{folder / _INDEX} is not valid: {error}; {_MAKE_AGAIN}") from error
    kept = index.networks.get(variant.file)
    if kept is None or kept.made_from != _made_from(stage, variant) or index.openvino != half.get_version():
        return None
    path = _path(folder, variant)
    try:
        # NumPy's large arrays take few page faults
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror}; {_MAKE_AGAIN}") from error
    if hashlib.sha256(content.data).hexdigest() != kept.sha256:
        raise LoadError(f"{path} was changed after it was made (its sha256 differs); {_MAKE_AGAIN}")
    return content


def graph_and_weights(content: npt.NDArray[np.uint8]) -> tuple[bytes, npt.NDArray[np.uint8]]:
    """The two parts of a kept network: OpenVINO's description of the graph (XML), and its weights."""
    end = _BEGIN + int(content[:_BEGIN].view("<u8")[0])
    return content[_BEGIN:end].tobytes(), content[_aligned(end) :]


def _aligned(place: int) -> int:
    return -(-place // _BEGIN) * _BEGIN


def _simplified(model: bytes) -> bytes:
    """An ONNX model in OpenVINO's format, after all that is the same on every CPU was done to it."""
    openvino = whole_package()
    # OpenVINO's own and promised to nobody, but what its converter calls as well
    from openvino._offline_transformations import apply_moc_transformations

    read = openvino.Core().read_model(model)
    apply_moc_transformations(read, cf=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "graph.xml")
        openvino.save_model(read, path, compress_to_fp16=False)
        graph, weights = path.read_bytes(), path.with_suffix(".bin").read_bytes()
    head = len(graph).to_bytes(8, "little").ljust(_BEGIN, b"\0")
    return head + graph.ljust(_aligned(len(graph)), b"\0") + weights


def _made_from(stage: Stage, variant: Variant) -> tuple[str, ...]:
    return (variant.sha256,) if stage.weights is None else (variant.sha256, stage.weights.sha256)


def _path(folder: Path, variant: Variant) -> Path:
    return folder / f"{variant.file}.graph"


def main(arguments: list[str]) -> int:
    """Make the kept networks of the folder of models in ``arguments``, or of those that came with this code."""
    from attention_dmfnet.model.loading import default_models
    from attention_dmfnet.model.manifest import load_manifest

    models = Path(arguments[0]) if arguments else default_models()
    for path in keep_graphs(models, load_manifest(models)):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
