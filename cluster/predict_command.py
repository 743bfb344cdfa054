"""``python -m cluster predict INPUTS OUTPUTS``: ``attention-dmfnet predict`` on many machines.

Cases, names, options, lines, record and exit status are the engine's; here is who labels, and what is labelled at all.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_dmfnet import folder
from attention_dmfnet.cli import predict as engine
from attention_dmfnet.cli.status import UNUSABLE, refuse
from attention_dmfnet.files.cases import Case
from attention_dmfnet.files.whole_file import remove_leftovers
from attention_dmfnet.folder import CaseReport

from cluster.crew import Ready
from cluster.dispatch import Dispatcher, Outcome, Rules
from cluster.errors import ClusterError
from cluster.labelling import Labelled, Order, Task, key_of, manifest_hash
from cluster.ledger import LEDGER_NAME, Ending, Ledger
from cluster.looking import Looking
from cluster.near import Near, near_of
from cluster.options import needs_of, rules_of
from cluster.places import Place
from cluster.ray_crew import RayCrew
from cluster.remote import Remote, files_of, named, told

if TYPE_CHECKING:
    from attention_dmfnet.cli.run_report import Earlier


def predict(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status, the engine's."""
    with tempfile.TemporaryDirectory(prefix="attention-dmfnet-") as here:
        try:
            near = near_of(options, Path(here))
            run = ManyMachines(options, near)
        except ClusterError as error:
            return refuse(str(error))
        try:
            status = engine.run(near.options, run)
        finally:
            # also where it was stopped: what is done is recorded
            is_back = near.bring_back()
        return status if is_back else UNUSABLE


def _ray(order: Order, payload_of: Callable[[str], Any], rules: Rules) -> RayCrew:
    return RayCrew(order.make, payload_of, needs_of(order.options), rules.each, order.options.address)


@dataclass
class ManyMachines:
    """See ``cli.predict.Elsewhere``."""

    options: argparse.Namespace
    near: Near
    _hashes: dict[str, Mapping[str, str]] = field(default_factory=dict)
    _workers: dict[int, str] = field(default_factory=dict)
    _cases: dict[str, Case] = field(default_factory=dict)

    def hashes(self, case: str) -> Mapping[str, str]:
        """See ``cli.predict.Elsewhere``."""
        return self._hashes.pop(case, {})

    def told(self, text: str) -> str:
        """See ``cli.predict.Elsewhere``."""
        return told(text, self.near.names)

    def __call__(self, work: engine.Work, earlier: Earlier | None) -> Iterator[CaseReport]:
        """See ``cli.predict.Elsewhere``. Raises ``ClusterError``."""
        if self.options.json:
            for passed in (*work.found.passed_over, *work.found.series):
                yield named(folder.passed_over(passed), self.near.names)
        tasks = _tasks(work.found.cases, self.near)
        self._cases = {case.name: case for case in work.found.cases}
        options, near = self.options, self.near
        model = manifest_hash(options.models)
        made_by = model if options.organs is None else f"{model} only {' '.join(sorted(options.organs))}"
        with (
            Ledger(options.ledger or near.options.outputs / LEDGER_NAME, made_by) as ledger,
            self._measuring(earlier) as measured,
        ):
            there = _label_maps(near, tasks)
            if not options.overwrite:
                self._look_at(ledger.unknown(list(there)), there, tasks, work.progress.show)
            done = ledger.prepare(list(tasks), there, options.overwrite)
            for name in done:
                missing = near.missing(work.further[tasks[name].case.name])
                yield measured(tasks[name].case, self._skipped(tasks[name], missing))
            if len(done) == len(tasks):
                return
            staging_bytes = options.staging_mb << 20
            order = Order(options, near.inputs, near.outputs, model, options.staging, staging_bytes, work.extras)
            rules = rules_of(options)
            crew = _ray(order, tasks.__getitem__, rules)
            try:
                rules = rules.with_workers(crew.room())
                ended = set(done)
                yield from self._dispatched(Dispatcher(ledger, crew, rules), ledger, tasks, ended, work, earlier)
                for name, error in ledger.ended_elsewhere(list(ended)):
                    case = tasks[name].case
                    # what another coordinator has made since, is as it asked for
                    failed = CaseReport(case.name, "failed", self._output(case), error=error)
                    yield measured(case, self._skipped(tasks[name], ())) if error is None else failed
            finally:
                crew.close()
                if isinstance(near.outputs, Path):
                    # of workers that were killed
                    remove_leftovers(near.outputs)

    def _dispatched(
        self,
        dispatcher: Dispatcher,
        ledger: Ledger,
        tasks: Mapping[str, Task],
        ended: set[str],
        work: engine.Work,
        earlier: Earlier | None,
    ) -> Iterator[CaseReport]:
        """What comes of each case that is ended here; its name is added to ``ended``."""
        progress = work.progress
        dispatcher.show = progress.show
        dispatcher.warn = lambda line: progress.print_line(line, sys.stderr)
        dispatcher.told = lambda ready: self._ready(ready, work)
        for outcome in dispatcher.run():
            ending, said = self._ended(outcome, tasks[outcome.name], earlier)
            # False: the lease ran out, and whoever has it now tells of the case
            if ledger.end(outcome.name, ending):
                ended.add(outcome.name)
                yield said

    def _ready(self, ready: Ready, work: engine.Work) -> None:
        runtime, manifest = ready.told
        if not self._workers and runtime is not None:
            work.progress.print_line(str(runtime), sys.stderr)
            if work.recorder is not None:
                work.recorder.set_runtime(runtime, manifest)
        self._workers[ready.worker] = ready.name

    def _ended(self, outcome: Outcome, task: Task, earlier: Earlier | None) -> tuple[Ending, CaseReport]:
        worker = self._workers.get(outcome.worker, "")
        if outcome.lost is not None:
            why = f"{_path_of(task.case, self.near.inputs)}: {outcome.lost}"
            return Ending(worker, error=why), CaseReport(task.case.name, "failed", self._output(task.case), error=why)
        made: Labelled = outcome.result
        said = made.report
        self._hashes[said.case] = made.hashes
        if earlier is not None and made.statistics is not None:
            earlier.report.statistics[said.case] = made.statistics
            if made.overview is not None:
                earlier.report.overviews[said.case] = made.overview
        error = said.error if said.status == "failed" else None
        sha256 = made.hashes.get(f"{key_of(task.case)}.nii.gz")
        sizes = (made.bytes_read, made.bytes_written, sha256, made.output_bytes)
        return Ending(worker, made.seconds, *sizes, error), said

    def _skipped(self, task: Task, missing: Sequence[Path]) -> CaseReport:
        said = folder.skipped(self._cases[task.case.name], self.near.options.outputs, missing)
        return named(said, self.near.names)

    @contextlib.contextmanager
    def _measuring(self, earlier: Earlier | None) -> Iterator[Callable[[Any, CaseReport], CaseReport]]:
        """What measures a case that was labelled before, where numbers are asked for, and says what became of it.

        It is given the case, which may be a ``Remote``, and what is said of it.
        """
        if earlier is None:
            yield lambda case, said: said
        elif not self.near.names:
            yield earlier.add
        else:
            from cluster.far_report import Measuring

            with contextlib.closing(Measuring(self.options, self.near, earlier)) as measuring:
                yield measuring.add

    def _look_at(
        self, names: Sequence[str], there: dict[str, int], tasks: dict[str, Task], show: Callable[[str], None]
    ) -> None:
        """Label maps that no row of the ledger tells of: what is not whole is made again, with a note."""
        if not names:
            return
        with contextlib.closing(Looking(self.options, self.near)) as looking:
            for name in names:
                show(f"{name}: is its label map whole?")
                case = tasks[name].case
                fault = looking.fault_of(self._cases[case.name], case)
                if fault is not None:
                    tasks[name] = Task(case, folder.made_again(fault))
                    del there[name]

    def _output(self, case: Case | Remote) -> str:
        return f"{self.near.outputs}/{case.name}.nii.gz"


def _path_of(case: Case | Remote, inputs: Path | Place) -> str:
    """Of a case's first file."""
    if isinstance(case, Remote) and isinstance(inputs, Place):
        return inputs.url_of(next(iter(case.members)))
    assert not isinstance(case, Remote)
    return str(case.path)


def _tasks(cases: Sequence[Case], near: Near) -> dict[str, Task]:
    """What there is to label, by what the ledger calls it. Raises ``ClusterError`` for names that look alike there."""
    tasks: dict[str, Task] = {}
    for case in cases:
        task = Task(_remote(case, near) if isinstance(near.inputs, Place) else case)
        path = _path_of(task.case, near.inputs)
        if path == f"{near.outputs}/{case.name}.nii.gz":
            raise ClusterError(f"the labels of {path} would replace the scan itself; choose another place for outputs")
        if tasks.setdefault(key_of(case), task) is not task:
            raise ClusterError(f"two cases are called {key_of(case)} where their bytes are shown; rename one")
    return tasks


def _remote(case: Case, near: Near) -> Remote:
    root = near.options.inputs if near.options.inputs.is_dir() else near.options.inputs.parent
    names = [path.relative_to(root).as_posix() for path in files_of(case)]
    series = getattr(case, "series", None)
    if series is None:
        return Remote(case.name, {name: near.sizes[name] for name in names})
    if series.part is not None:
        # one volume of several: which it is, only all of the series' images tell
        names = [path.relative_to(root).as_posix() for path in near.files_of_series(series.uid)]
    return Remote(case.name, {name: near.sizes[name] for name in names}, series.key, getattr(case, "said", ()))


def _label_maps(near: Near, tasks: Mapping[str, Task]) -> dict[str, int]:
    """The size in bytes of each label map that is there, by the case's name in the ledger."""
    sizes = near.there
    if isinstance(near.outputs, Path):
        sizes = {path.name: path.lstat().st_size for path in near.outputs.iterdir()}
    named_so = {f"{task.case.name}.nii.gz": name for name, task in tasks.items()}
    return {named_so[file]: size for file, size in sizes.items() if file in named_so}
