"""``attention-dmfnet doctor``: can this machine label a scan, with what, and if not, what to do.

Exit status: 0 if it can, 1 if not.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from attention_dmfnet.cli.parser import examples
from attention_dmfnet.cli.predict_options import add_network_options
from attention_dmfnet.cli.progress import say
from attention_dmfnet.cli.status import DONE, SOME_FAILED, missing_package, refuse
from attention_dmfnet.files.cases import printable

if TYPE_CHECKING:
    from attention_dmfnet.cli.examination import Examination


def add_options(command: argparse.ArgumentParser) -> None:
    """See ``commands.CommandModule``."""
    command.description = (
        "See whether this machine can label a scan: CPU, memory, GPU, runtimes, models with their hashes, the variant "
        "of each network and why it is taken, and the seconds of one tile. Nothing is written."
    )
    command.epilog = examples(
        ("ask about this machine", "attention-dmfnet doctor"),
        ("see whether its GPU would be used, for a program", "attention-dmfnet doctor --device cuda --json"),
        after="exit status: 0 a scan can be labelled, 1 none can: the last line says what to do",
    )
    add_network_options(command.add_argument_group("networks"))
    group = command.add_argument_group("reporting")
    group.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(options: argparse.Namespace) -> int:
    """See ``commands.CommandModule``."""
    try:
        import msgspec

        from attention_dmfnet.cli.examination import examine
    except ModuleNotFoundError as error:
        refuse(missing_package(error))
        return SOME_FAILED
    found = examine(options.models, options.device, options.backend, options.precision, options.gpu_memory_mb)
    if options.json:
        say(msgspec.json.encode(found).decode(), sys.stdout)
    else:
        for line in _lines(found):
            say(printable(line), sys.stdout)
    return DONE if found.problem is None else SOME_FAILED


def _lines(found: "Examination") -> Iterator[str]:
    cpu, memory = found.cpu, found.memory
    quota = "" if cpu.quota is None else f", by a quota of {cpu.quota:g}"
    yield f"CPU        {cpu.model}; {cpu.usable} of {cpu.present} may be used{quota}; {' '.join(cpu.instructions)}"
    limit = "" if memory.limit_mib is None else f"; the control group allows {memory.limit_mib} MiB"
    yield f"memory     {memory.available_mib} of {memory.total_mib} MiB free{limit}"
    gpu = found.gpu
    yield "GPU        " + (
        found.no_gpu
        if gpu is None
        else f"{gpu.name}, compute capability {gpu.compute_capability}, {gpu.memory_mib} MiB, "
        f"driver {gpu.driver}, CUDA {gpu.cuda}"
    )
    for runtime in found.runtimes:
        yield f"runtime    {runtime.name} {runtime.version or runtime.fault}"
    wrong = [file for file in found.files if file.fault is not None]
    whole = len(found.files) - len(wrong)
    yield f"models     release {found.release} in {found.models}: {whole} of {len(found.files)} files have their hashes"
    for file in wrong:
        yield f"           {file.fault}"
    for stage in found.stages:
        yield f"{stage.stage:10} {stage.file} in {stage.precision}: {stage.why}"
        for other in stage.others:
            yield f"           not {other}"
    if found.tile is not None:
        z, y, x = found.tile.voxels_zyx
        tested = found.tile.tested_seconds
        there = "" if tested is None else f"; {tested:.2f} s where it was tested"
        yield f"one tile   {found.tile.seconds:.2f} s for {z}x{y}x{x} voxels on {found.runtime}{there}"
    for sentence in found.warnings:
        yield f"but        {sentence}"
    if found.problem is None:
        yield "A scan can be labelled."
    else:
        yield f"No scan can be labelled: {found.problem}"
