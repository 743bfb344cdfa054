from pathlib import Path

import pytest

from tests.engine.tiny import write_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a manifest and two real, tiny networks for the block phantom."""
    return write_models(tmp_path_factory.mktemp("models"))
