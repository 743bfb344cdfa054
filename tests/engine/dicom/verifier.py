"""dciodvfy of Debian's dicom3tools: a judge of DICOM objects that shares no code with what wrote them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def needed(program: str, package: str) -> str:
    """The path of ``program``; without it the test skips, but in CI it fails."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        reason = f"{program} is not installed (Debian's package {package})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def errors_of(path: Path) -> list[str]:
    """What dciodvfy calls an error in the file ``path``."""
    program = needed("dciodvfy", "dicom3tools")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, errors="replace", check=False)
    said = (done.stdout + done.stderr).splitlines()
    # it names the object that it took the file for, or it has judged nothing
    assert any(line in ("Segmentation", "RTStructureSet") for line in said), said
    return [line for line in said if line.startswith("Error")]
