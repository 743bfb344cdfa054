"""Claims about the frame: the packages' layers, the requirements, the image's recipe, and what the README repeats."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attention_dmfnet
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from evaluation.organs import ORGANS

ROOT = Path(__file__).resolve().parent.parent
LAYERS = {
    "export": {"training", "evaluation", "cluster", "attention_dmfnet"},
    "training": {"evaluation", "cluster", "attention_dmfnet"},
    "evaluation": {"attention_dmfnet"},
    "cluster": {"attention_dmfnet"},
    "attention_dmfnet": set[str](),
}
"""For each package, the ones that it may import."""

EXTRAS = {
    "export": {"export"},
    "training": {"training"},
    "evaluation": {"report", "evaluation"},
    "cluster": {"cluster"},
    "attention_dmfnet": {"cpu", "cuda", "tensorrt", "dicom", "report"},
}
"""For each package, the extras that bring what it imports beyond the requirements of all."""


def folder_of(package: str) -> Path:
    """The runtime alone is a package that people import by its own name: it lies in a folder of its own."""
    return ROOT / "engine" / package if package == "attention_dmfnet" else ROOT / package


PACKAGES = [name for name in LAYERS if (folder_of(name) / "__init__.py").exists()]


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def declared(*extras: str) -> set[str]:
    """What an installation with ``extras`` asks for, by normalised name."""
    project = pyproject()["project"]
    texts = [*project["dependencies"], *(text for extra in extras for text in project["optional-dependencies"][extra])]
    return {canonicalize_name(Requirement(text).name) for text in texts}


def pinned_versions() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    assert len({canonicalize_name(name) for name, _ in pins}) == len(pins), "a package is pinned twice"
    return {canonicalize_name(name): Version(version) for name, version in pins}


def imports_of(package: str) -> Iterator[tuple[Path, str]]:
    """Each import statement anywhere in ``package``, those inside functions too, by the top-level name it asks for."""
    for path in folder_of(package).rglob("*.py"):
        if "peers" in path.parts:  # scripts for the peers' own environment, which read our packages by path
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name.partition(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield path, node.module.partition(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    forbidden = set(LAYERS) - LAYERS[package] - {package}
    assert [(path.name, name) for path, name in imports_of(package) if name in forbidden] == []


def test_the_import_linter_guards_every_package_that_is_there() -> None:
    settings = pyproject()["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers")
    assert sorted(settings["root_packages"]) == sorted(PACKAGES)
    assert sorted(re.findall(r"\w+", " ".join(layers))) == sorted(PACKAGES)


def test_two_files_alone_know_simpleitk() -> None:
    knowing = {path.name for path, name in imports_of("attention_dmfnet") if name == "SimpleITK"}
    assert knowing == {"itk_files.py", "itk_child.py"}


def test_the_engine_itself_needs_five_packages() -> None:
    assert declared() == {"numpy", "simpleitk", "connected-components-3d", "msgspec", "isal"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_its_extras_install(package: str) -> None:
    distributions = importlib.metadata.packages_distributions()
    extras = EXTRAS[package].union(*(EXTRAS[lower] for lower in LAYERS[package]))
    allowed = declared(*extras)
    foreign = {name for _, name in imports_of(package) if name not in LAYERS and name not in sys.stdlib_module_names}
    undeclared = {
        name for name in foreign if not allowed & set(map(canonicalize_name, distributions.get(name, [name])))
    }
    assert undeclared == set()


def test_every_requirement_is_pinned_to_a_version_that_satisfies_it() -> None:
    project = pyproject()["project"]
    pins = pinned_versions()
    groups = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
    for group, texts in groups.items():
        for requirement in map(Requirement, texts):
            pin = pins.get(canonicalize_name(requirement.name))
            assert pin is not None, f"{requirement.name} ({group}) has no line in constraints.txt"
            assert requirement.specifier.contains(pin), f"{requirement} ({group}) does not allow its pin {pin}"


def test_no_pin_names_a_build_for_one_machine() -> None:
    assert {name: str(pin) for name, pin in pinned_versions().items() if pin.local} == {}


def test_no_extra_mixes_the_two_onnx_runtimes() -> None:
    extras = pyproject()["project"]["optional-dependencies"]
    together = re.search(r"^DEV_EXTRAS := (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert together is not None
    sets = [*extras.values(), [text for extra in together[1].split(",") for text in extras[extra]]]
    for texts in sets:
        names = {Requirement(text).name for text in texts}
        assert not {"onnxruntime", "onnxruntime-gpu"} <= names


def test_the_version_is_the_same_everywhere() -> None:
    version = pyproject()["project"]["version"]
    in_image = re.search(r"^ARG VERSION=(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    in_changelog = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert in_image is not None
    assert in_changelog is not None
    assert (in_image[1], in_changelog[1], attention_dmfnet.__version__) == (version, version, version)


def test_the_builder_sees_all_that_the_dockerfile_copies() -> None:
    admitted = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    copied = {source.rstrip("/") for line in copies for source in line.split()[:-1]}
    assert copied == admitted


def test_the_builder_does_not_see_the_reports_viewer() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    viewer = "engine/attention_dmfnet/report/viewer"
    assert (ROOT / viewer / "niivue.umd.js").exists()
    # a later line counts more: it stands behind the one that admits the engine
    assert lines.index(viewer) > lines.index("!engine")


def test_the_readme_names_each_label_as_the_engine_does() -> None:
    rows = re.findall(r"\|\s*(\d+)\s*\|\s*([a-z][a-z ]*?)\s*(?=\|)", (ROOT / "README.md").read_text())
    assert sorted({(int(label), name) for label, name in rows}) == list(enumerate(ORGANS, start=1))
