"""The process in which ITK reads a file that may crash it: a script of its own, with nothing of ours imported.

It is given the file's name and CPU-seconds for header and voxels. It answers on standard output: a line of JSON with
the header, and, when it gets a line on standard input, a line with the type of the voxels and then the voxels. A line
``{"error": ...}`` holds ITK's words.
"""

import json
import os
import resource
import sys
from typing import Any, BinaryIO

import SimpleITK


def main(name: str, header_s: int, voxels_s: int, asked: BinaryIO, answers: BinaryIO) -> None:
    """Answer until nothing more is asked, with so many CPU-seconds for the header and for the voxels."""
    sitk: Any = SimpleITK
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(name)
    try:
        _end_after(header_s)
        reader.ReadImageInformation()
        _tell(
            answers,
            size=reader.GetSize(),
            spacing=reader.GetSpacing(),
            origin=reader.GetOrigin(),
            direction=reader.GetDirection(),
            components=reader.GetNumberOfComponents(),
            bits=_bits(sitk.GetPixelIDValueAsString(reader.GetPixelID())),
        )
        if not asked.readline():
            return
        _end_after(voxels_s)
        image = reader.Execute()
        array = sitk.GetArrayViewFromImage(image)  # holds no reference to the image
        _tell(answers, dtype=array.dtype.str, shape=array.shape)
        answers.write(array.reshape(-1).data)
        answers.flush()
    except (RuntimeError, MemoryError) as error:
        _tell(answers, error=str(error) or "not enough memory")


def _end_after(seconds: int) -> None:
    """Let the system end this process (SIGXCPU) when it has computed for so many seconds more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _bits(pixel: str) -> int:
    # such as "16-bit signed integer"
    bits = pixel.partition("-")[0]
    return int(bits) if bits.isdigit() else 8


def _tell(answers: BinaryIO, **facts: object) -> None:
    answers.write(json.dumps(facts).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    _answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.stdin.buffer, _answers)
