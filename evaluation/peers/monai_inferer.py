"""MONAI's sliding-window inferer with our own fine network, the way MONAI's bundles run a network on a folder of scans.

Orientation, spacing and intensity window by MONAI's transforms, the inferer over the whole scan, the scores inverted
to the scan's grid, argmax, file. The weights are random, as what a case costs does not depend on them; spacing, tile,
overlap and window are those of our manifest. Runs in the peers' environment only:

    python evaluation/peers/monai_inferer.py prepare MODEL --manifest models/manifest.json
    python evaluation/peers/monai_inferer.py predict MODEL INPUTS OUTPUTS
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parents[2]
# what is used until there is a manifest
STAGE: dict[str, Any] = {
    "output": {"classes": 14},
    "spacing_zyx": [3.0, 2.5, 2.5],
    "tile_zyx": [64, 96, 128],
    "overlap": 0.25,
    "window_hu": [-200.0, 300.0],
    "mean_hu": 50.0,
    "std_hu": 150.0,
}

# an untrained network's labels are noise, which takes longer to compress than organs do; its scores are huge, too
BACKGROUND_BIAS = 1e6


def prepare(model: Path, manifest: Path | None) -> None:
    """Make a folder with random weights of our fine network and the settings of the manifest's fine stage."""
    import torch

    stage = STAGE if manifest is None else json.loads(manifest.read_text())["fine"]
    torch.manual_seed(0)
    network = _network(stage)
    with torch.no_grad():
        network.head.bias[0] = BACKGROUND_BIAS
    model.mkdir(parents=True, exist_ok=True)
    (model / "stage.json").write_text(json.dumps({name: stage[name] for name in STAGE}))
    torch.save(network.state_dict(), model / "weights.pt")
    parameters_m = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    print(f"Attention DMFNet with {parameters_m:.2f} M random parameters in {model}")


def predict(model: Path, inputs: Path, outputs: Path) -> None:
    """Label every scan in ``inputs``."""
    import torch

    stage = json.loads((model / "stage.json").read_text())
    network = _network(stage)
    network.load_state_dict(torch.load(model / "weights.pt", weights_only=True))
    network.eval()
    inferer = _monai("inferers").SlidingWindowInferer(
        stage["tile_zyx"], sw_batch_size=1, overlap=stage["overlap"], mode="gaussian"
    )
    before, after = _transforms(stage, outputs)
    with torch.inference_mode():
        for scan in sorted(inputs.glob("*.nii.gz")):
            data = before({"image": scan})
            data["scores"] = inferer(data["image"][None], network)[0]
            after(data)
            made = outputs / scan.name
            made.rename(outputs / scan.name.replace("_0000.nii.gz", ".nii.gz"))


def _transforms(stage: dict[str, Any], outputs: Path) -> tuple[Any, Any]:
    import torch

    transforms = _monai("transforms")
    low_hu, high_hu = stage["window_hu"]
    low, high = ((hu - stage["mean_hu"]) / stage["std_hu"] for hu in (low_hu, high_hu))
    before = transforms.Compose(
        [
            transforms.LoadImaged("image"),
            transforms.EnsureChannelFirstd("image"),
            # array axes that increase towards head, back and left: (z, y, x) as our networks have it
            transforms.Orientationd("image", axcodes="SPL", labels=(("R", "L"), ("A", "P"), ("I", "S"))),
            # single precision is half of the default's memory and time
            transforms.Spacingd("image", pixdim=stage["spacing_zyx"], mode="bilinear", dtype=torch.float32),
            transforms.ScaleIntensityRanged("image", low_hu, high_hu, low, high, clip=True),
        ]
    )
    after = transforms.Compose(
        [
            transforms.Invertd("scores", before, "image", nearest_interp=False, to_tensor=True),
            transforms.AsDiscreted("scores", argmax=True),
            transforms.SaveImaged(
                "scores",
                output_dir=outputs,
                output_postfix="",
                output_dtype="uint8",
                separate_folder=False,
                resample=False,
                print_log=False,
            ),
        ]
    )
    return before, after


def _monai(module: str) -> Any:
    """Imported by name: whether MONAI is installed beside the type checker must make no difference to it."""
    return importlib.import_module(f"monai.{module}")


def _network(stage: dict[str, Any]) -> Any:
    """Our network, imported from this clone: the project is not installed in the peers' environment.

    It may import only what ``requirements.txt`` has; ``tests/evaluation/peers`` guards that.
    """
    if str(CLONE) not in sys.path:
        sys.path.insert(0, str(CLONE))
    try:
        module = importlib.import_module("training.network.attention_dmfnet")
    except ModuleNotFoundError as error:
        sys.exit(f"our network cannot be imported: {error}; make the peers' environment again with install.sh")
    return module.AttentionDMFNet(classes=stage["output"]["classes"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    preparing = commands.add_parser("prepare", help="make a model folder with random weights")
    preparing.add_argument("model", type=Path)
    preparing.add_argument("--manifest", type=Path, default=None, help="take the fine stage's settings from here")
    predicting = commands.add_parser("predict", help="label the scans of a folder")
    for name in ("model", "inputs", "outputs"):
        predicting.add_argument(name, type=Path)
    options = parser.parse_args()
    if options.command == "prepare":
        prepare(options.model, options.manifest)
    else:
        predict(options.model, options.inputs, options.outputs)


if __name__ == "__main__":
    main()
