"""A MONAI Deploy application: a folder of DICOM in, label maps and DICOM SEG out.

    python docs/monai-deploy/app.py -i STUDIES -o OUTPUTS

docs/monai-deploy.md says how to install, run and package it.
"""

import logging
from pathlib import Path
from typing import Any

import attention_dmfnet as dmf
from attention_dmfnet.dicom.listing import list_dicom
from attention_dmfnet.folder import predict
from attention_dmfnet.further_outputs import DicomObjects, algorithm_of
from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application, ConditionType, Operator


class OrganSegmenter(Operator):  # type: ignore[misc]  # the SDK is not installed where types are checked
    """Labels the axial CT of every study in a folder, and writes a label map and a SEG of each.

    Named output ``reports``: what became of each case, a list of ``attention_dmfnet.folder.CaseReport``; nobody has to
    take it. Series are chosen and read by the engine: slices by position, tilt, duplicates, phases (docs/dicom.md).
    """

    def __init__(
        self, fragment: Any, *args: Any, inputs: Path, outputs: Path, models: Path | None = None, **kwargs: Any
    ) -> None:
        """``inputs``: a folder or archive of DICOM. ``models``: the folder of ``manifest.json``; None: the release."""
        self.inputs, self.outputs, self.models = inputs, outputs, models
        # the base class asks for `setup` at once
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: Any) -> None:
        """Declare the output."""
        spec.output("reports").condition(ConditionType.NONE)

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Label what is there. One case that fails does not stop the others; that all fail ends the application."""
        listing = list_dicom(self.inputs, self.outputs)
        for other in listing.series:
            logging.info("not labelled: %s, %s", other.path, other.kind)
        if not listing.cases:
            raise ValueError(f"no CT series to label in {self.inputs}")
        self.outputs.mkdir(parents=True, exist_ok=True)
        seg = DicomObjects(algorithm_of(self.models), seg=True, rtstruct=False)
        with dmf.load(models=self.models) as segmenter:
            reports = list(predict(listing.cases, self.outputs, segmenter, extras=[seg]))
        for report in reports:
            logging.info("%s: %s %s", report.case, report.status, report.error or "")
        if all(report.status == "failed" for report in reports):
            raise RuntimeError(f"every case failed: {reports[0].error}")
        op_output.emit(reports, "reports")


class OrganApp(Application):  # type: ignore[misc]
    """One operator: what comes before and after it in other applications, the engine does itself."""

    def compose(self) -> None:
        """Input, output and models are those of the command line, or of the variables that a container sets."""
        context = Application.init_app_context(self.argv)
        own = Path(context.model_path) if context.model_path else None
        # the SDK's default is a folder `models` that need not be there
        models = own if own is not None and (own / "manifest.json").is_file() else None
        segmenter = OrganSegmenter(
            self,
            # an operator that waits for nothing would begin anew for ever
            CountCondition(self, 1),
            inputs=Path(context.input_path),
            outputs=Path(context.output_path),
            models=models,
            name="organs",
        )
        self.add_operator(segmenter)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    OrganApp().run()
