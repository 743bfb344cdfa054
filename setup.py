"""What pyproject.toml cannot say: a wheel carries the folder ``models`` inside of the package.

Mapped as a package of its own instead, it would turn an editable install from one path entry into an import hook.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithModels(build_py):  # type: ignore[misc]  # setuptools ships no type information
    """Copies the models beside the modules; an editable install finds them where they are."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            models = Path(self.build_lib, "attention_dmfnet", "models")
            # nothing of an earlier build, which may have had other networks
            shutil.rmtree(models, ignore_errors=True)
            shutil.copytree("models", models, ignore=shutil.ignore_patterns(".*"))


setup(cmdclass={"build_py": BuildWithModels})
