"""nnU-Net v2's own predictor on one folder of scans, in two published recipes.

- ``flare22-winner``: the small network of FLARE22's winner (blackbean), through PyTorch.
- ``flare24-laptop``: FLARE24's task on a laptop as nnU-Net's authors entered it: the default network at 2.5 mm, through
  OpenVINO (https://github.com/MIC-DKFZ/nnUNet, documentation/competitions/FLARE24/Task_2).

The weights are random, as what a case costs does not depend on them. Runs in the peers' environment only:

    python evaluation/peers/nnunet.py prepare MODEL [--recipe flare24-laptop]
    python evaluation/peers/nnunet.py predict MODEL INPUTS OUTPUTS
"""

import argparse
import importlib
import json
import multiprocessing
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIGURATION = "3d_fullres"
CLASSES = 14
# an untrained network's labels are noise, which takes longer to compress than organs do
BACKGROUND_BIAS = 100.0
# what OpenVINO reads, beside nnU-Net's own files; a model folder that has it is run through OpenVINO
OPENVINO_FILE = "model.xml"


@dataclass(frozen=True)
class Recipe:
    """A configuration of nnU-Net: the grid, the tile and the network; one entry of ``features`` for each stage.

    ``parameters_m`` are the least and the most parameters, in millions: a guard against another network than published.
    """

    spacing_zyx: tuple[float, float, float]
    patch_zyx: tuple[int, int, int]
    features: tuple[int, ...]
    strides: tuple[tuple[int, int, int], ...]
    parameters_m: tuple[float, float]
    reader: str
    openvino: bool


RECIPES = {
    # strides: what nnU-Net's planner gives for this spacing and patch, cut off after the fifth stage
    "flare22-winner": Recipe(
        (4.0, 1.2, 1.2),
        (32, 128, 192),
        (16, 32, 64, 128, 256),
        ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
        (5.2, 6.0),
        "SimpleITKIO",
        openvino=False,
    ),
    # patch and network: what nnU-Net's planner gives for the challenge's 2.5 x 0.8 x 0.8 mm and a median of 97 x 512 x
    # 512 voxels; the recipe keeps them and changes the spacing alone
    "flare24-laptop": Recipe(
        (2.5, 2.5, 2.5),
        (40, 224, 192),
        (32, 64, 128, 256, 320, 320),
        ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2)),
        (30.0, 32.0),
        "NibabelIOWithReorient",
        openvino=True,
    ),
}


def prepare(model: Path, name: str) -> None:
    """Make a folder as nnU-Net's training leaves it, with random weights; for OpenVINO with its own file, too."""
    import torch

    recipe = RECIPES[name]
    plans, dataset = _plans(recipe), _dataset()
    manager = _nnunet("utilities.plans_handling.plans_handler").PlansManager(plans)
    trainer = _nnunet("training.nnUNetTrainer.nnUNetTrainer").nnUNetTrainer
    torch.manual_seed(0)
    network = trainer.build_network_architecture(
        manager, manager.get_configuration(CONFIGURATION), 1, CLASSES, enable_deep_supervision=False
    )
    parameters_m = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    least_m, most_m = recipe.parameters_m
    if not least_m < parameters_m < most_m:
        sys.exit(
            f"the network has {parameters_m:.2f} M parameters and {name} has {least_m} to {most_m} M: "
            "nnU-Net builds another one"
        )
    with torch.no_grad():
        network.decoder.seg_layers[-1].bias[0] = BACKGROUND_BIAS
    (model / "fold_0").mkdir(parents=True, exist_ok=True)
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text(json.dumps(dataset))
    if recipe.openvino:
        openvino = importlib.import_module("openvino")
        # the network is traced on a small tile, which takes a second, and holds for tiles of the patch's shape
        shape = [1, 1, *recipe.patch_zyx]
        converted = openvino.convert_model(network.eval(), example_input=torch.zeros(1, 1, 16, 64, 64), input=shape)
        openvino.save_model(converted, model / OPENVINO_FILE)
    else:
        checkpoint = {
            "network_weights": network.state_dict(),
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": CONFIGURATION},
            "inference_allowed_mirroring_axes": None,
        }
        torch.save(checkpoint, model / "fold_0" / "checkpoint_final.pth")
    print(f"nnU-Net with {parameters_m:.2f} M random parameters in {model}")


def predict(model: Path, inputs: Path, outputs: Path) -> None:
    """Label every scan in ``inputs``, as nnU-Net's command line does, but without its worker processes.

    One case a start leaves them nothing to overlap, while each would import everything once more.
    """
    # it warns about each of its folders that is not named, and these are not needed for prediction
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(name, str(model))
    import torch

    # as its own command line has it, and the laptop recipe's script
    torch.set_num_threads(multiprocessing.cpu_count())
    # half-overlapping tiles, added up in half precision: nnU-Net's default, in both recipes
    predictor = _nnunet("inference.predict_from_raw_data").nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    if (model / OPENVINO_FILE).is_file():
        plans = _nnunet("utilities.plans_handling.plans_handler").PlansManager(
            json.loads((model / "plans.json").read_text())
        )
        predictor.manual_initialization(
            _through_openvino(model / OPENVINO_FILE),
            plans,
            plans.get_configuration(CONFIGURATION),
            # one set of weights, which are in the compiled network already
            [{}],
            json.loads((model / "dataset.json").read_text()),
            "nnUNetTrainer",
            None,
        )
    else:
        predictor.initialize_from_trained_model_folder(str(model), (0,))
    predictor.predict_from_files_sequential(str(inputs), str(outputs))


def _through_openvino(file: Path) -> Any:
    """The network in ``file`` as a module of PyTorch, with the laptop recipe's settings: latency, pinned threads.

    The execution mode leaves OpenVINO the precision: bfloat16 where the CPU has it.
    """
    import torch

    openvino = importlib.import_module("openvino")
    settings = {"PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": True, "EXECUTION_MODE_HINT": "PERFORMANCE"}
    compiled = openvino.Core().compile_model(file, "CPU", settings)

    class Compiled(torch.nn.Module):
        def forward(self, tile: Any) -> Any:
            return torch.from_numpy(compiled(tile.numpy())[0])

    return Compiled()


def _nnunet(module: str) -> Any:
    """Imported by name: whether nnU-Net is installed beside the type checker must make no difference to it."""
    return importlib.import_module(f"nnunetv2.{module}")


def _plans(recipe: Recipe) -> dict[str, Any]:
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    of_labels = {**resampling, "is_seg": True, "order": 1}
    of_scores = {**resampling, "order": 1}
    stages = len(recipe.features)
    network = {
        "n_stages": stages,
        "features_per_stage": recipe.features,
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [(1, 3, 3), *[(3, 3, 3)] * (stages - 1)],
        "strides": recipe.strides,
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    configuration = {
        "data_identifier": f"nnUNetPlans_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": recipe.patch_zyx,
        "median_image_size_in_voxels": [100, 320, 320],
        "spacing": recipe.spacing_zyx,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": of_labels,
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": of_scores,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": network,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
    }
    intensities = {
        "max": 3000.0,
        "mean": 80.0,
        "median": 85.0,
        "min": -1000.0,
        "percentile_00_5": -900.0,
        "percentile_99_5": 300.0,
        "std": 140.0,
    }
    return {
        "dataset_name": "Dataset022_FLARE22",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [2.5, 0.8, 0.8],
        "original_median_shape_after_transp": [100, 512, 512],
        "image_reader_writer": recipe.reader,
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {CONFIGURATION: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": intensities},
    }


def _dataset() -> dict[str, Any]:
    labels = {"background": 0} | {f"organ {label}": label for label in range(1, CLASSES)}
    return {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 50, "file_ending": ".nii.gz"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    preparing = commands.add_parser("prepare", help="make a model folder with random weights")
    preparing.add_argument("model", type=Path)
    preparing.add_argument("--recipe", choices=tuple(RECIPES), default="flare22-winner")
    predicting = commands.add_parser("predict", help="label the scans of a folder")
    for name in ("model", "inputs", "outputs"):
        predicting.add_argument(name, type=Path)
    options = parser.parse_args()
    if options.command == "prepare":
        prepare(options.model, options.recipe)
    else:
        predict(options.model, options.inputs, options.outputs)


if __name__ == "__main__":
    main()
