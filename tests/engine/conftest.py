from pathlib import Path

import hypothesis
import pytest

from tests.engine.tiny import write_models

# how long an example takes says something about the machine's other work, not about the code
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a manifest and two real, tiny networks for the block phantom."""
    return write_models(tmp_path_factory.mktemp("models"))
