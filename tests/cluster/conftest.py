from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.geometry import Volume

from tests.engine.tiny import block_phantom, write_models


def write_scans(folder: Path, names: Sequence[str]) -> Path:
    """Phantoms of blocks, each shifted a little further, so that their label maps differ."""
    folder.mkdir(parents=True, exist_ok=True)
    ct, _ = block_phantom()
    for shift, name in enumerate(names):
        write_volume(Volume(np.roll(ct.array, shift % 4, axis=2), ct.geometry), folder / f"{name}_0000.nii.gz")
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real networks that label ``block_phantom`` correctly."""
    return write_models(tmp_path_factory.mktemp("models"))
