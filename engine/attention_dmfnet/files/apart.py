"""ITK's reader in a process of its own, for the kinds of files that can crash it: then the case fails, not the run.

NRRD and MetaImage headers exist that end the process in C++ (``NDims = -32768``). Starting the process takes a quarter
of a second. A plain NIfTI file is read in this process, where its header was looked at first.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_SCRIPT = Path(__file__).with_name("itk_child.py")

HEADER_CPU_S = 20
"""ITK reads a header in thousandths of a second; with ``NDims = -32768`` it may go on for ever, or crash."""

_VOXELS_CPU_S, _BYTES_A_CPU_S = 60, 1_000_000
"""Ten times what a slow machine needs to unpack a file."""


class ApartReader:
    """As SimpleITK's ``ImageFileReader`` of one file, but that ``Execute`` returns an array.

    Its methods raise ``RuntimeError`` with ITK's words, or with how the process ended. ``close`` it.
    """

    def __init__(self, name: str) -> None:
        """``name`` is the file's, as ITK takes it. Raises ``OSError`` if no process can be started."""
        voxels_s = _VOXELS_CPU_S + os.stat(name).st_size // _BYTES_A_CPU_S
        # -P: this script's folder is not searched for modules; what is imported is what this process would import
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_SCRIPT), name, str(HEADER_CPU_S), str(voxels_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._header: dict[str, Any] = {}

    def ReadImageInformation(self) -> None:  # noqa: N802  # SimpleITK's name, as are those below
        """Wait for the header."""
        self._header = self._answer()

    def GetSize(self) -> tuple[int, ...]:  # noqa: N802
        """Voxels along x, y, z."""
        return tuple(self._header["size"])

    def GetSpacing(self) -> tuple[float, ...]:  # noqa: N802
        """In mm along x, y, z."""
        return tuple(self._header["spacing"])

    def GetOrigin(self) -> tuple[float, ...]:  # noqa: N802
        """In LPS mm."""
        return tuple(self._header["origin"])

    def GetDirection(self) -> tuple[float, ...]:  # noqa: N802
        """Row by row."""
        return tuple(self._header["direction"])

    def GetNumberOfComponents(self) -> int:  # noqa: N802
        """Numbers per voxel."""
        return int(self._header["components"])

    @property
    def voxel_bytes(self) -> int:
        """What a voxel takes."""
        return int(self._header["bits"]) // 8

    def Execute(self) -> npt.NDArray[Any]:  # noqa: N802
        """The voxels (z, y, x)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(b"voxels\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._crash() from None
        facts = self._answer()
        array: npt.NDArray[Any] = np.empty(facts["shape"], np.dtype(facts["dtype"]))
        left = memoryview(array.reshape(-1).view(np.uint8).data)
        while left:
            got = self._process.stdout.readinto(left)  # type: ignore[attr-defined]  # typeshed leaves it out of IO
            if not got:
                raise self._crash()
            left = left[got:]
        return array

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._crash()
        facts: dict[str, Any] = json.loads(line)
        if "error" in facts:
            raise RuntimeError(facts["error"])
        return facts

    def _crash(self) -> RuntimeError:
        status = self._process.wait()
        if status == -signal.SIGXCPU:
            return RuntimeError("the reader of this kind of file did not come to an end on it")
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        return RuntimeError(f"the reader of this kind of file crashed on it ({how})")
