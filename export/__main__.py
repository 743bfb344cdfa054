"""``python -m export``: from training runs to the files that the engine reads.

Exit status: 0 done, 2 if something was refused or cannot be made; what was published before is then as it was.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from export.errors import ExportError

DONE, REFUSED = 0, 2

_DISTRIBUTION = "attention-dmfnet"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    # the libraries tell all that they do at this level
    logging.getLogger("export").setLevel(logging.INFO)
    # imported late: --help must not wait for torch
    from attention_dmfnet.files.cases import InputError
    from attention_dmfnet.model.manifest import ManifestError
    from attention_dmfnet.model.network import NetworkError

    from training.errors import TrainingError

    try:
        options.run(options)
    except (ExportError, InputError, ManifestError, NetworkError, TrainingError) as error:
        print(f"python -m export: {error}", file=sys.stderr)
        return REFUSED
    return DONE


def _onnx(options: argparse.Namespace) -> None:
    from export.figures import read_figures
    from export.publish import publish
    from export.release import build_release

    accuracy = () if options.measured is None else read_figures(options.measured).accuracy
    release = options.release or _own_version()
    built = build_release(
        options.coarse_run, options.fine_run, release, options.precision, accuracy, options.significant_bits
    )
    publish(built, options.to, options.card)
    print(f"{options.to}: release {release}, {', '.join(sorted(built.files))}")


def _tensorrt(options: argparse.Namespace) -> None:
    from export.plans import add_plans, import_tensorrt
    from export.publish import CARD_NAME, publish, read_release
    from export.tensorrt_plan import BuildOptions, BuiltPlan

    def report(file: str, built: BuiltPlan) -> None:
        origin = built.origin
        print(f"{file}: {len(built.content) / 1e6:.1f} MB, for {origin.gpu}, {origin.runtime} {origin.version}")
        if options.timing_report:
            print(*built.layers, sep="\n")

    settings = BuildOptions(options.workspace_mb, options.compatibility, options.timing_cache)
    release = read_release(options.models)
    built = add_plans(release, import_tensorrt(options.runtime), options.precision, settings, report)
    card = options.models / CARD_NAME
    publish(built, options.to, card if card.exists() else None)


def _parity(options: argparse.Namespace) -> None:
    from export.parity_run import run_parity

    if options.table is not None and not options.table.parent.is_dir():
        raise ExportError(f"no folder {options.table.parent} for the table; make it, or name another place")
    outcome = run_parity(options.models, options.cts, options.repeats)
    print(outcome.table)
    if options.table is not None:
        options.table.write_text(outcome.table, encoding="utf-8")
    if not options.only_measure:
        outcome.publish()


def _own_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        raise ExportError(f"{_DISTRIBUTION} is not installed, so its version is unknown; name one: --release") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export", description="From training runs to the engine's files.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_onnx(commands.add_parser("onnx", help="two training runs to a folder of ONNX models with a manifest"))
    _add_parity(commands.add_parser("parity", help="compare all variants with the original, and drop what is too far"))
    _add_tensorrt(commands.add_parser("tensorrt", help="ONNX models to a folder that holds TensorRT plans as well"))
    return parser


def _add_tensorrt(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_tensorrt)
    command.add_argument("models", metavar="MODELS", type=Path, help="the folder of ONNX models")
    command.add_argument("--to", metavar="PLANS", type=Path, required=True, help="the folder for models and plans")
    command.add_argument(
        "--runtime",
        choices=["tensorrt", "tensorrt_rtx"],
        default="tensorrt",
        help="whose plans: TensorRT's, for this machine's GPU (default), or TensorRT-RTX's; neither reads the other's",
    )
    command.add_argument(
        "--precision",
        nargs="+",
        choices=["float32", "float16"],
        default=["float32", "float16"],
        help="of which models; default: both",
    )
    command.add_argument("--workspace-mb", type=int, default=512, help="scratch memory of any layer; default: 512")
    command.add_argument(
        "--compatibility",
        choices=["none", "same_compute_capability", "ampere_plus"],
        default="none",
        help="which other GPUs can run TensorRT's plans, somewhat slower; default: none",
    )
    command.add_argument("--timing-cache", metavar="FILE", type=Path, help="speeds up the next build with TensorRT")
    command.add_argument("--timing-report", action="store_true", help="print each layer's output and its size")


def _add_parity(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_parity)
    command.add_argument("models", metavar="MODELS", type=Path, help="the folder of models, which gets the figures")
    command.add_argument("cts", metavar="CT", nargs="+", type=Path, help="real scans, or folders of them")
    command.add_argument("--table", metavar="FILE", type=Path, help="where to write the table (Markdown) as well")
    command.add_argument("--repeats", type=int, default=1, help="times that each tile is computed; default: 1")
    command.add_argument("--only-measure", action="store_true", help="leave MODELS as it is")


def _add_onnx(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_onnx)
    stage = "the {} stage's run folder, or a release's file of its weights (.safetensors)"
    command.add_argument("coarse_run", metavar="COARSE_RUN", type=Path, help=stage.format("coarse"))
    command.add_argument("fine_run", metavar="FINE_RUN", type=Path, help=stage.format("fine"))
    command.add_argument("--to", metavar="MODELS", type=Path, default=Path("models"), help="default: models")
    command.add_argument("--release", help="default: the version of this package")
    command.add_argument(
        "--precision",
        nargs="+",
        choices=["float32", "float16"],
        default=["float32", "float16"],
        help="the variants to make; default: both",
    )
    command.add_argument(
        "--significant-bits",
        type=int,
        choices=range(8, 12),
        default=11,
        help="of a run folder's convolutions; 8 are bfloat16's and compress better; default: 11, half precision",
    )
    command.add_argument("--card", type=Path, help="the model card to publish with the models")
    command.add_argument("--measured", metavar="JSON", type=Path, help="whose accuracy goes into measured.json")


if __name__ == "__main__":
    sys.exit(main())
