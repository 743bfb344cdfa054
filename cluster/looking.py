"""Whether a label map that no row of the ledger tells of is whole: as ``predict`` looks at it, also at a URL."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

from attention_dmfnet.files.cases import Case, ScanFile, output_of
from attention_dmfnet.files.label_maps import fault_of_label_map

from cluster.near import Near
from cluster.places import Place
from cluster.remote import Remote, stand_ins, told
from cluster.staging import Staging

_HEADER_BYTES: Final = 1 << 16
"""So much of a scan that is one file holds its header, packed or not."""


class Looking:
    """Label maps are looked at one after the other; what is at a URL comes to this machine's staging, and is let go."""

    def __init__(self, options: argparse.Namespace, near: Near) -> None:
        """``options`` are those of the command."""
        self._near = near
        self._staging = Staging(options.staging, options.staging_mb << 20) if near.names else None

    def close(self) -> None:
        """Remove what is staged."""
        if self._staging is not None:
            self._staging.close()

    def fault_of(self, case: Case, there: Case | Remote) -> str | None:
        """Why the label map of ``case`` is not a whole one on the grid of its scan, or None if it is.

        ``case`` is as the engine sees it here, and ``there`` as workers do. Raises ``ClusterError`` for what cannot be
        fetched, and for a label map that is larger than the staging may be.
        """
        near = self._near
        if self._staging is None:
            return fault_of_label_map(output_of(case, near.options.outputs), case)
        size = 0
        if isinstance(near.outputs, Place):
            size = near.there[f"{case.name}.nii.gz"]
        with self._staging.room(size) as room:
            label_map = output_of(case, near.options.outputs)
            if isinstance(near.outputs, Place):
                label_map = output_of(case, room / "out")
                near.outputs.fetch(label_map.name, label_map, size)
            if isinstance(there, Remote) and there.series_key is None:
                case = self._header_alone(there, room / "in")
            fault = fault_of_label_map(label_map, case)
            names = {**stand_ins(there, room, near.inputs, near.outputs), **near.names}
            return None if fault is None else told(fault, names)

    def _header_alone(self, remote: Remote, to: Path) -> ScanFile:
        """A file with the header of the scan and its size, which takes no room. DICOM's headers are here already."""
        assert isinstance(self._near.inputs, Place)
        ((name, size),) = remote.members.items()
        path = to / name
        path.parent.mkdir(parents=True)
        path.write_bytes(self._near.inputs.beginning(name, min(size, _HEADER_BYTES)))
        # readers ask whether as many voxels as the header tells of can be in it
        os.truncate(path, size)
        return ScanFile(path)
