from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.geometry import Volume

from tests.engine.tiny import block_phantom, write_models

if TYPE_CHECKING:
    from tests.cluster.store import Store


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


@pytest.fixture(scope="session")
def served() -> Iterator[Store]:
    # s3fs keeps the first address that it saw: one server for all tests of this process
    from tests.cluster.store import serving

    with serving() as store:
        yield store


@pytest.fixture
def store(served: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A bucket with nothing in it, for runs with one worker in this process."""
    import cluster.places
    import cluster.predict_command
    from tests.cluster.inline import InlineCrew
    from tests.cluster.store import BUCKET

    monkeypatch.setattr(cluster.predict_command, "_ray", InlineCrew)
    monkeypatch.setattr(cluster.places, "_FIRST_PAUSE_S", 0.001)
    yield served
    served.failing = 0.0
    for below in ("in", "out", "scans", "labels"):
        if served.files().exists(f"{BUCKET}/{below}"):
            served.files().rm(f"{BUCKET}/{below}", recursive=True)
