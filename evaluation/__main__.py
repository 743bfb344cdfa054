"""``python -m evaluation``: a phantom, a picture, the scores, the demonstration, and what it all costs.

Exit status: 0 when done, 1 when something failed on the way, 2 for arguments that cannot be used.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import FAILED, run_command, tell

PEERS_PYTHON = Path(".cache/peers-venv/bin/python")
MODELS = Path(__file__).resolve().parent.parent / "models"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status."""
    options = _parser().parse_args(arguments)
    return run_command("evaluation", lambda: options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation", description="How good a prediction is, and what it costs."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_pictures(commands)
    _add_accuracy(commands)
    _add_demo(commands)
    _add_cost(commands)
    return parser


def _add_pictures(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    phantom = commands.add_parser("phantom", help="write a made-up CT with all thirteen organs, and its labels")
    phantom.add_argument("--to", type=Path, required=True, metavar="DIR", help="gets images/ and labels/")
    phantom.add_argument("--seed", type=int, default=1, help="which patient (default: 1)")
    phantom.set_defaults(run=_phantom)

    picture = commands.add_parser("picture", help="draw the organs over the CT in three planes")
    picture.add_argument("ct", type=Path, metavar="CT")
    picture.add_argument("labels", type=Path, metavar="LABELS")
    picture.add_argument("--to", type=Path, required=True, metavar="PNG")
    picture.add_argument("--title", default=None, help="a line above the picture (default: the case's name)")
    picture.set_defaults(run=_picture)


def _add_accuracy(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    score = commands.add_parser("score", help="DSC and NSD of predictions, as FLARE22 scores them")
    score.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="a folder of label maps, or one file")
    score.add_argument("references", type=Path, metavar="REFERENCES", help="a folder of label maps, or one file")
    score.add_argument("--csv", type=Path, required=True, metavar="OUT", help="the organisers' table goes here")
    score.add_argument("--rules", choices=("flare22", "plain"), default="flare22", help="plain: without its quirks")
    score.add_argument("--missing", choices=("error", "zero"), default="error", help="what a missing prediction is")
    score.add_argument("--organs", default=None, metavar="A,B", help="score these only (names, codes or labels)")
    score.add_argument(
        "--merge",
        action="append",
        default=[],
        metavar="A=B",
        help="count A as B, where the references draw both as one: --merge duodenum=stomach; may be repeated",
    )
    score.add_argument("--plot", type=Path, default=None, metavar="PNG", help="a box plot (default: beside the CSV)")
    score.add_argument("--no-plot", action="store_true", help="draw no box plot")
    score.set_defaults(run=_score)

    roi = commands.add_parser("roi", help="how much of each labelled organ the ROI holds, and its size")
    roi.add_argument("images", type=Path, metavar="IMAGES", help="a folder of scans, or one scan")
    roi.add_argument("references", type=Path, metavar="REFERENCES", help="a folder of label maps")
    roi.add_argument("--models", type=Path, default=MODELS, metavar="DIR", help="default: the published ones")
    roi.set_defaults(run=_roi)


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = commands.add_parser("demo", help="predict.sh on a phantom, or on your own scan, with a picture")
    demo.add_argument("--ct", type=Path, default=None, metavar="PATH", help="your own scan instead of the phantom")
    demo.add_argument("--to", type=Path, default=Path("demo_output"), metavar="DIR")
    demo.add_argument("--seed", type=int, default=1, help="which phantom (default: 1)")
    demo.set_defaults(run=_demo)


def _add_cost(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    efficiency = commands.add_parser(
        "efficiency", help="what each case costs, by FLARE22's protocol: one cold start each"
    )
    efficiency.add_argument("inputs", type=Path, metavar="INPUTS", help="a folder of scans, or one scan")
    efficiency.add_argument("--to", type=Path, required=True, metavar="DIR", help="gets tables, plots and a summary")
    what = efficiency.add_mutually_exclusive_group(required=True)
    what.add_argument("--image", metavar="NAME", help="a container image, run by the organisers' command")
    what.add_argument("--command", dest="line", metavar="LINE", help="a command line with {inputs} and {outputs}")
    efficiency.add_argument("--engine", default="docker", metavar="PROGRAM", help="runs the image (default: docker)")
    efficiency.add_argument(
        "--protocol",
        choices=("flare22", "flare23"),
        default="flare22",
        help="the organisers' command; from FLARE23 on with limits on memory (default: flare22)",
    )
    efficiency.add_argument("--gpu", type=int, default=0, metavar="N", help="which GPU (default: 0)")
    efficiency.add_argument("--time-limit", type=float, default=3600.0, metavar="S", help="of a case (default: 3600)")
    efficiency.add_argument("--no-plot", action="store_true", help="draw no plots")
    efficiency.set_defaults(run=_efficiency)

    latency = commands.add_parser("latency", help="where the seconds go, step by step, cold and warm")
    latency.add_argument("scans", type=Path, nargs="+", metavar="CT")
    latency.add_argument("--runs", type=int, default=5, metavar="N", help="cold and warm runs a scan (default: 5)")
    latency.add_argument(
        "--command", dest="line", default=None, metavar="LINE", help="default: predict.sh of this clone"
    )
    latency.add_argument("--trace", type=Path, default=None, metavar="FILE", help="JSON for chrome://tracing, Perfetto")
    latency.add_argument("--picture", type=Path, default=None, metavar="PNG", help="a waterfall of the median cold run")
    latency.add_argument("--to", type=Path, default=Path("latency_output"), metavar="DIR", help="logs and the table")
    latency.set_defaults(run=_latency)

    bench = commands.add_parser("bench", help="cold starts of ours and of the peers, interleaved")
    bench.add_argument("scans", type=Path, nargs="*", metavar="CT", help="default: a phantom of 512 x 512 x 129")
    bench.add_argument("--runs", type=int, default=3, metavar="N", help="of each system on each scan (default: 3)")
    bench.add_argument("--to", type=Path, default=Path("bench_output"), metavar="DIR", help="the tables go here")
    bench.add_argument("--peers-python", type=Path, default=PEERS_PYTHON, metavar="FILE", help="the peers' interpreter")
    bench.add_argument("--no-peers", action="store_true", help="ours alone")
    bench.set_defaults(run=_bench)


def _phantom(options: argparse.Namespace) -> int:
    from evaluation.phantom import write_phantom

    for path in write_phantom(options.to, _seed(options.seed)):
        print(path)
    return 0


def _picture(options: argparse.Namespace) -> int:
    from attention_dmfnet.files.cases import case_name
    from attention_dmfnet.files.image_io import read_volume

    from evaluation.pictures.picture import draw

    ct, labels = read_volume(options.ct), read_volume(options.labels)
    draw(ct, labels, options.to, options.title if options.title is not None else case_name(options.ct))
    print(options.to)
    return 0


def _score(options: argparse.Namespace) -> int:
    from evaluation.accuracy.score import score_folders
    from evaluation.accuracy.score_report import write_reports

    scores = score_folders(
        options.predictions,
        options.references,
        rules=options.rules,
        missing=options.missing,
        organs=options.organs,
        merge=options.merge,
        note=tell,
    )
    plot = None if options.no_plot else options.plot or options.csv.with_suffix(".png")
    print(write_reports(scores, options.csv, plot))
    return 0


def _roi(options: argparse.Namespace) -> int:
    from evaluation.accuracy.roi_coverage import coverage_table, measure_folder

    print(coverage_table(measure_folder(options.images, options.references, options.models)))
    return 0


def _demo(options: argparse.Namespace) -> int:
    from evaluation.demo import run_demo

    run_demo(options.to, ct_path=options.ct, seed=_seed(options.seed), tell=lambda line: print(line, flush=True))
    return 0


def _efficiency(options: argparse.Namespace) -> int:
    from attention_dmfnet.files.cases import list_cases

    from evaluation.cost.efficiency import measure
    from evaluation.cost.efficiency_report import Setting, write_reports
    from evaluation.cost.gpu import find_gpu
    from evaluation.cost.machine import describe_machine
    from evaluation.cost.system import command_system, image_system

    gpu, gpu_in_words = find_gpu(options.gpu)
    if options.image is not None:
        system = image_system(options.image, None if gpu is None else options.gpu, options.engine, options.protocol)
    else:
        system = command_system(options.line)
    runs = measure(system, list_cases(options.inputs), options.to, gpu, options.time_limit, tell)
    setting = Setting(f"What a case costs: {system.name}", system.line(), describe_machine(gpu), gpu_in_words)
    print(write_reports(runs, setting, options.to, plots=not options.no_plot))
    return FAILED if any(run.failure is not None for run in runs) else 0


def _latency(options: argparse.Namespace) -> int:
    from evaluation.cost.latency import measure_folder, measure_latency
    from evaluation.cost.latency_report import latency_page, waterfall
    from evaluation.cost.machine import describe_machine
    from evaluation.cost.system import command_system, engine_system
    from evaluation.cost.trace import write_chrome_trace
    from evaluation.files import write_bytes, write_text

    system = engine_system() if options.line is None else command_system(options.line)
    scans = _scans(options.scans)
    latencies = measure_latency(system, scans, _runs(options.runs), options.to, tell)
    folder_s = measure_folder(system, scans, options.to) if len(scans) > 1 else None
    page = latency_page(latencies, describe_machine(), folder_s)
    write_text(options.to / "latency.md", page)
    if options.trace is not None:
        write_chrome_trace([trace for latency in latencies for trace in latency.traces()], options.trace)
    if options.picture is not None:
        write_bytes(options.picture, waterfall([latency.typical_cold_trace() for latency in latencies]))
    print(page)
    return 0


def _bench(options: argparse.Namespace) -> int:
    from evaluation.cost.bench import bench_page, bench_phantom, compare, peer_systems, runs_csv
    from evaluation.cost.machine import describe_machine
    from evaluation.cost.system import engine_system
    from evaluation.files import write_text

    ours = engine_system("--device cpu")
    systems = [ours]
    if not options.no_peers:
        systems += peer_systems(options.peers_python, options.to / "peers", MODELS / "manifest.json")
    scans = _scans(options.scans) if options.scans else [bench_phantom(options.to / "phantom")]
    runs = compare(systems, scans, _runs(options.runs), options.to, tell)
    page = bench_page(runs, ours.name, describe_machine())
    write_text(options.to / "bench.md", page)
    write_text(options.to / "bench.csv", runs_csv(runs))
    print(page)
    return 0


def _scans(paths: Sequence[Path]) -> list[Path]:
    from attention_dmfnet.files.cases import list_cases

    return [scan for path in paths for scan in list_cases(path)]


def _runs(runs: int) -> int:
    from evaluation.errors import ArgumentsError

    if runs < 1:
        raise ArgumentsError(f"--runs {runs} measures nothing; give 1 or more")
    return runs


def _seed(seed: int) -> int:
    from evaluation.errors import ArgumentsError

    if seed < 0:
        raise ArgumentsError(f"--seed {seed} is negative; give 0 or more")
    return seed


if __name__ == "__main__":
    sys.exit(main())
