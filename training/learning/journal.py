"""What a run tells about itself: a line of JSON an epoch, TensorBoard with pictures, a progress bar."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from attention_dmfnet.cli.progress import Progress as Bar

from evaluation.organs import ORGANS
from training.arrays import Rgb
from training.learning.run_files import LOG, read_log, replace_file
from training.learning.validation import CaseScores, mean_by_label, mean_dsc
from training.recipe import Recipe

_BAR_PARTS = 1000


class Journal:
    """Open while a run runs. Only the process of rank zero writes anything."""

    def __init__(
        self, run: Path, recipe: Recipe, first_step: int, is_rank_zero: bool, stream: TextIO = sys.stderr
    ) -> None:
        self._path, self._recipe, self._stream = run / LOG, recipe, stream
        self._is_rank_zero = is_rank_zero
        self._bar = Bar(_BAR_PARTS, stream)
        self._drawn = 0
        if not is_rank_zero:
            return
        # what was told after the checkpoint that the run goes on from will be told again
        forget_after(self._path, first_step)
        # here, as torch imports a good deal for it
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=first_step + 1)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        if self._is_rank_zero:
            self._bar.clear()
            self._board.close()

    def step(self, step: int, share: float, loss: float) -> None:
        """Move the progress bar."""
        if self._is_rank_zero:
            while self._drawn < min(round(share * _BAR_PARTS), _BAR_PARTS - 1):
                self._bar.case_done()
                self._drawn += 1
            self._bar.show(f"‰ of the budget, step {step}, loss {loss:.3f}")

    def epoch(self, step: int, spent_s: float, loss: float, learning_rate: float) -> None:
        """The mean loss of an epoch's steps and the last learning rate."""
        if self._is_rank_zero:
            epoch = step // self._recipe.run.steps_per_epoch
            minutes = round(spent_s / 60, 3)
            self._write(
                {"epoch": epoch, "step": step, "minutes": minutes, "loss": loss, "learning_rate": learning_rate}
            )
            self._board.add_scalar("loss", loss, step)
            self._board.add_scalar("learning rate", learning_rate, step)

    def validation(self, step: int, scores: CaseScores, final: bool) -> None:
        """DSC and NSD by organ, means over the cases."""
        if not self._is_rank_zero or not scores:
            return
        row: dict[str, object] = {"step": step, "final": final, "cases": len(scores)}
        means = mean_by_label(scores)
        row["mean_dsc"] = round(mean_dsc(scores), 4)
        row["mean_nsd"] = round(float(np.mean([score.nsd for score in means.values()])), 4)
        names = {label: self._name(label) for label in means}
        row["dsc"] = {names[label]: round(score.dsc, 4) for label, score in means.items()}
        row["nsd"] = {names[label]: round(score.nsd, 4) for label, score in means.items()}
        self._write(row)
        for label, score in means.items():
            self._board.add_scalar(f"DSC/{names[label]}", score.dsc, step)
            self._board.add_scalar(f"NSD/{names[label]}", score.nsd, step)

    def picture(self, name: str, step: int, picture: Rgb) -> None:
        """A picture for TensorBoard."""
        if self._is_rank_zero:
            self._board.add_image(name, torch.from_numpy(picture), step, dataformats="HWC")

    def say(self, line: str) -> None:
        """A line for the person who watches."""
        if self._is_rank_zero:
            self._bar.print_line(line, self._stream)

    def _name(self, label: int) -> str:
        return "organs" if self._recipe.stage == "coarse" else ORGANS[label - 1] if label <= len(ORGANS) else str(label)

    def _write(self, row: dict[str, object]) -> None:
        line = json.dumps(row)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self._bar.print_line(line, self._stream)


def forget_after(path: Path, step: int) -> None:
    """Drop a log's rows of later steps than ``step``."""
    if path.exists():
        kept = [row for row in read_log(path) if int(str(row["step"])) <= step]
        replace_file(path, "".join(json.dumps(row) + "\n" for row in kept).encode())
