"""The paper's protocol as a list of steps, each a command that a person could type.

prepare          the scans, checked and cached
coarse           where the organs are
teacher-0 ...    a fine network for each fold, or one, on what was drawn; each exported
pseudo-1 ...     with --at-once: shares of the scans that nobody has labelled, each labelled by a process of its own
pseudo           what they label in the scans that nobody has labelled: all together, if there are several
student-data     both kinds of labels in one data set, the same patients held out
student          the fine network that learns from both
models           what the engine reads, compared with the original (parity) and described (card)
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from attention_dmfnet.files.cases import InputError, ScanFile, list_cases, refuse_shared_names

from training.data.dataset import DATASET_NAME, CaseEntry, read_index
from training.data.fingerprint import FINGERPRINT_NAME
from training.data.pseudo_folder import PSEUDO_NAME
from training.data.release import find_release
from training.data.splits import SPLITS_NAME, read_splits
from training.errors import TrainingError
from training.learning.run_files import BEST, RECIPE, WEIGHTS
from training.paper.content import Files, Input, PreparedCases, Text, UnlabelledScans
from training.recipe import RECIPES, Stage

EACH = "each"
_PARITY_SCANS = 3
_MANIFEST, _RECORD = "manifest.json", "run.json"


@dataclass(frozen=True)
class Step:
    """One command. ``words`` follow ``python -m`` and decide what comes out; ``how`` only where and how fast.

    ``made`` are files that are there when it is done. A run folder that was begun with other ``inputs`` is set aside.
    A command that ``may_complain`` has done its work with status 1 too, if it wrote what it was to make: some cases
    were left out, as its own report says.
    """

    name: str
    what: str
    words: tuple[str, ...]
    inputs: tuple[Input, ...]
    made: tuple[Path, ...]
    how: tuple[str, ...] = ()
    run_folder: Path | None = None
    may_complain: bool = False
    after: str = ""
    """A step whose repetition repeats this one too, whatever the inputs are."""


@dataclass(frozen=True)
class Protocol:
    """What was asked for. ``fold`` is ``each``, ``all`` or a number; ``pseudo`` are folders of pseudo labels."""

    recipe: str
    raw: tuple[Path, ...]
    to: Path
    fold: str = EACH
    folds: int = 5
    changes: tuple[str, ...] = ()
    pseudo: tuple[Path, ...] = ()
    selection: Path | None = None
    pseudo_loss: str = "generalised"
    fit_how: tuple[str, ...] = ()
    label_how: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    at_once: int = 1
    """How many teachers are trained, and shares of scans labelled, at once, each on a GPU of its own."""
    weights: Literal["last", "best"] = "last"
    """Which of each run's are exported: those that it ended with, or those of the highest mean DSC on the way."""

    def steps(self) -> Iterator[tuple[Step, ...]]:
        """Every step in its turn, those together that do not depend on each other.

        Later ones depend on what earlier ones found, so each must be done before the next is asked for.

        Raises ``TrainingError`` where there is nothing for a student to learn from, or no best weights.
        """
        data = self.to / "data"
        yield (self._prepare(data),)
        cases = read_index(data).cases
        folders = [] if self.pseudo else _folders_of_unlabelled(cases)
        yield (self._fit("coarse", "coarse", data, self._one_fold),)
        self._exported("coarse")  # or it would be missed after days, when the teachers are there
        pseudo = self.pseudo
        if folders:
            yield from self._label(data, folders)
            pseudo = (self.to / "pseudo",)
        fine = "student"
        if pseudo:
            student_data = self.to / "student-data"
            yield (self._prepare_for_student(student_data, pseudo),)
            loss = ("--set", f'loss.pseudo={{name="{self.pseudo_loss}"}}')
            yield (self._fit("student", "fine", student_data, self._one_fold, loss),)
        elif self.fold == EACH:
            raise TrainingError(
                "there are no unlabelled scans, so nothing for a student to learn from; add a folder of them (with "
                '"unlabeled" in its name) to --data, or train one network with --fold all'
            )
        else:
            fine = "teacher"
            yield (self._fit(fine, "fine", data, self.fold),)
        yield (self._export(fine, "models"),)
        yield (self._parity(fine, [Path(entry.image) for entry in cases if entry.labels is not None]),)
        yield (self._card(fine),)
        yield from self._measure()

    @property
    def _one_fold(self) -> str:
        """Of the networks that are trained once: with a teacher for each fold, they hold out the first."""
        return "0" if self.fold == EACH else self.fold

    def _prepare(self, data: Path) -> Step:
        return Step(
            "prepare",
            "check the scans and make a data set of them",
            ("training", "prepare", *map(str, self.raw), "--to", str(data), *self._recipe_words, *self._folds_words),
            (*self._recipe_inputs, *map(Files, self.raw)),
            (data / DATASET_NAME, data / SPLITS_NAME, data / FINGERPRINT_NAME),
            self.workers,
            may_complain=True,
        )

    def _prepare_for_student(self, data: Path, pseudo: Sequence[Path]) -> Step:
        same = ("--stage", "fine", "--splits", str(self.to / "data" / SPLITS_NAME))
        words = ("training", "prepare", *map(str, self.raw), "--to", str(data), *self._recipe_words, *same)
        return Step(
            "student-data",
            "add the selected pseudo labels",
            (*words, "--pseudo", *map(str, pseudo)),
            (*self._recipe_inputs, *map(Files, self.raw), *(Files(folder / PSEUDO_NAME) for folder in pseudo)),
            (data / DATASET_NAME,),
            self.workers,
            may_complain=True,
        )

    def _fit(self, name: str, stage: Stage, data: Path, fold: str, more: tuple[str, ...] = ()) -> Step:
        run = self.to / name
        words = ("training", "fit", "--stage", stage, *self._recipe_words, *more, "--fold", fold)
        return Step(
            name,
            f"train the {stage} stage, {'on all cases' if fold == 'all' else f'holding out fold {fold}'}",
            (*words, "--data", str(data), "--to", str(run), "--resume"),
            (*self._recipe_inputs, PreparedCases(data, stage)),
            (run / WEIGHTS, run / RECIPE),
            self.fit_how,
            run_folder=run,
        )

    def _label(self, data: Path, folders: Sequence[Path]) -> Iterator[tuple[Step, ...]]:
        pseudo = self.to / "pseudo"
        words = ("training", "pseudo-label", *map(str, folders), "--to", str(pseudo), "--data", str(data))
        inputs: tuple[Input, ...] = (UnlabelledScans(data), Files(data / FINGERPRINT_NAME))
        maps = [folder for raw in self.raw if (found := find_release(raw)) for folder in found.pseudo_maps]
        what = "take the published label maps, and see how far they agree"
        if maps:
            inputs, who = (*inputs, *map(Files, maps)), ("--maps", *map(str, maps))
        else:
            folds = [str(fold) for fold in range(read_splits(data / SPLITS_NAME).folds)]
            names = {f"teacher-{fold}": fold for fold in folds} if self.fold == EACH else {"teacher": self.fold}
            yield tuple(self._fit(name, "fine", data, fold) for name, fold in names.items())
            for name in names:
                yield (self._export(name, f"{name}-models"),)
            teachers = [self.to / f"{name}-models" for name in names]
            inputs = (*inputs, *(Files(teacher / _MANIFEST) for teacher in teachers))
            who = ("--models", *map(str, teachers))
            if len(teachers) > 1:
                who = ("--ensemble", *who)
            what = "label the unlabelled scans and select what can be trusted"
        words, made, shards = (*words, *who), (pseudo / PSEUDO_NAME,), self.at_once if self.at_once > 1 else 0
        if shards:
            yield tuple(
                Step(
                    f"pseudo-{shard}",
                    f"label a share of the unlabelled scans, {shard} of {shards}",
                    # no pictures: each would remove the others'
                    (*words, "--shard", f"{shard}/{shards}", "--pictures", "0"),
                    inputs,
                    made,
                    self.label_how,
                    may_complain=True,
                )
                for shard in range(1, shards + 1)
            )
        if self.selection is not None:
            words = (*words, "--selection", str(self.selection))
            inputs = (*inputs, Files(self.selection))
        after = f"pseudo-{shards}" if shards else ""
        yield (Step("pseudo", what, words, inputs, made, self.label_how, may_complain=True, after=after),)

    def _exported(self, name: str) -> Path:
        """The folder of the weights that are exported of the run ``name``, which is done."""
        run = self.to / name
        if self.weights == "last":
            return run
        if not (run / BEST / WEIGHTS).exists():
            raise TrainingError(
                f"{run} has no best weights: it ended before it was scored; leave out --weights best, or train longer"
            )
        return run / BEST

    def _export(self, fine: str, models: str) -> Step:
        runs = (self._exported("coarse"), self._exported(fine))
        return Step(
            models,
            f"make the files that the engine reads, of the {self.weights} weights",
            ("export", "onnx", *map(str, runs), "--to", str(self.to / models), "--release", fine),
            tuple(Files(run / file) for run in runs for file in (WEIGHTS, RECIPE)),
            (self.to / models / _MANIFEST,),
        )

    def _parity(self, fine: str, scans: Sequence[Path]) -> Step:
        table, few = self.to / "parity.md", scans[:_PARITY_SCANS]
        return Step(
            "parity",
            "compare the models with the network that was trained",
            ("export", "parity", str(self.to / "models"), *map(str, few), "--table", str(table)),
            (Files(self._exported(fine) / WEIGHTS), *map(Files, few)),
            (table,),
            after="models",
        )

    def _card(self, fine: str) -> Step:
        card, runs = self.to / "card.md", [self._exported("coarse"), self._exported(fine)]
        words = ("training", "card", *map(str, runs), "--to", str(card))
        return Step("card", "write the paper's tables", words, tuple(Files(run / WEIGHTS) for run in runs), (card,))

    def _measure(self) -> Iterator[tuple[Step, ...]]:
        """Where a release brings scans to measure on: how good the models are there.

        A scan that is refused is scored 0. What other models labelled is set aside: `predict` keeps what is there.
        """
        held = [found.validation for raw in self.raw if (found := find_release(raw)) and found.validation]
        for images, labels in held[:1]:
            predicted, scores = self.to / "validation", self.to / "validation.csv"
            manifest = Files(self.to / "models" / _MANIFEST)
            words = ("attention_dmfnet", "predict", str(images), str(predicted), "--models", str(self.to / "models"))
            yield (
                Step(
                    "validation",
                    "label the scans for measuring",
                    words,
                    (manifest, Files(images)),
                    (predicted, predicted / _RECORD),
                    run_folder=predicted,
                    may_complain=True,
                ),
            )
            score = ("evaluation", "score", str(predicted), str(labels), "--csv", str(scores), "--missing", "zero")
            inputs = (Files(predicted), Files(labels))
            yield (Step("score", "DSC and NSD there", score, inputs, (scores,), after="validation"),)

    @property
    def _recipe_words(self) -> tuple[str, ...]:
        return ("--recipe", self.recipe, *(word for change in self.changes for word in ("--set", change)))

    @property
    def _recipe_inputs(self) -> tuple[Input, ...]:
        path = Path(self.recipe)
        return (Files(path if path.suffix == ".toml" else RECIPES / f"{self.recipe}.toml"),)

    @property
    def _folds_words(self) -> tuple[str, ...]:
        return ("--folds", str(self.folds))


def _folders_of_unlabelled(cases: Sequence[CaseEntry]) -> list[Path]:
    """Where the scans without labels lie.

    Raises ``TrainingError`` for two files of one case's name, which `pseudo-label` would refuse after the training.
    """
    folders = list(dict.fromkeys(Path(entry.image).parent for entry in cases if entry.labels is None))
    try:
        refuse_shared_names([ScanFile(path) for folder in folders for path in list_cases(folder)])
    except InputError as error:
        raise TrainingError(str(error)) from error
    return folders


def inputs_of(step: Step, protocol: Protocol) -> dict[str, Input]:
    """What ``step`` depends on, its options among it, by names that stay the same when ``protocol.to`` is moved."""
    everything = (Text("the options", " ".join(step.words).replace(str(protocol.to), "DIR")), *step.inputs)
    return {each.name.replace(str(protocol.to), "DIR"): each for each in everything}


def as_typed(step: Step) -> str:
    """The command of a step, for a shell."""
    return shlex.join(("python", "-m", *step.words, *step.how))
