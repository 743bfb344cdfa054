import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKED = ("torch", "onnx", "scipy", "monai", "numba")
ENGINE = ROOT / "engine"
MODULES = sorted(".".join(path.relative_to(ENGINE).with_suffix("").parts) for path in ENGINE.rglob("*.py"))


def _python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def blocked_imports() -> str:
    """A program's beginning: from there on, whoever imports a blocked module fails."""
    return f"import sys\nfor name in {BLOCKED}: sys.modules[name] = None\n"


def test_every_module_of_the_engine_imports_without_training_and_export_libraries(blocked_imports: str) -> None:
    modules = [module.removesuffix(".__init__") for module in MODULES]
    assert "attention_dmfnet.segmenter" in modules
    loads = "\n".join(f"import {module}" for module in modules)
    result = _python(blocked_imports + loads)
    assert result.returncode == 0, result.stderr


def test_the_block_itself_works(blocked_imports: str) -> None:
    for name in BLOCKED:
        assert "ModuleNotFoundError" in _python(f"{blocked_imports}import {name}").stderr


def test_a_whole_case_is_labelled_without_them(blocked_imports: str, models: Path, tmp_path: Path) -> None:
    from attention_dmfnet.files.image_io import write_volume

    from tests.engine.tiny import block_phantom

    write_volume(block_phantom()[0], tmp_path / "a.nii.gz")
    arguments = ["predict", str(tmp_path / "a.nii.gz"), str(tmp_path / "out"), "--models", str(models)]
    result = _python(f"{blocked_imports}from attention_dmfnet.cli.main import main\nsys.exit(main({arguments}))")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "a.nii.gz").exists()


def test_plain_nifti_is_read_labelled_and_written_without_simpleitk(models: Path, tmp_path: Path) -> None:
    from attention_dmfnet.files.image_io import write_volume

    from tests.engine.tiny import block_phantom

    # ITK reads other kinds in a process of its own, which plain NIfTI does not need
    for name, apart in (("a.nii.gz", False), ("a.nrrd", True)):
        write_volume(block_phantom()[0], tmp_path / name)
        arguments = ["predict", str(tmp_path / name), str(tmp_path / "out"), "--models", str(models), "--overwrite"]
        program = f"import sys\nfrom attention_dmfnet.cli.main import main\nassert main({arguments}) == 0\n"
        modules = "print(*(name in sys.modules for name in ('SimpleITK', 'attention_dmfnet.files.apart')))"
        result = _python(program + modules)
        assert result.stdout.splitlines()[-1:] == [f"False {apart}"], result.stderr


def test_a_plain_run_imports_nothing_of_many_machines(models: Path, tmp_path: Path) -> None:
    from attention_dmfnet.files.image_io import write_volume

    from tests.engine.tiny import block_phantom

    write_volume(block_phantom()[0], tmp_path / "a.nii.gz")
    arguments = ["predict", str(tmp_path / "a.nii.gz"), str(tmp_path / "out"), "--models", str(models)]
    program = f"import sys\nfrom attention_dmfnet.cli.main import main\nassert main({arguments}) == 0\n"
    theirs = "('ray', 'fsspec', 's3fs', 'sqlite3', 'cluster')"
    result = _python(f"{program}print([m for m in {theirs} if m in sys.modules], 'threading' in sys.modules)")
    # the last word: it is modules that were asked for
    assert result.stdout.splitlines()[-1] == "[] True", result.stdout + result.stderr


def test_where_simpleitk_is_not_installed_nifti_is_labelled_and_the_rest_is_refused_by_name(
    models: Path, tmp_path: Path
) -> None:
    from attention_dmfnet.files.image_io import write_volume

    from tests.engine.tiny import block_phantom

    (tmp_path / "in").mkdir()
    for name in ("a.nii.gz", "b.nrrd"):
        write_volume(block_phantom()[0], tmp_path / "in" / name)
    arguments = ["predict", str(tmp_path / "in"), str(tmp_path / "out"), "--models", str(models)]
    without = "import sys\nsys.modules['SimpleITK'] = None\nfrom attention_dmfnet.cli.main import main\n"
    result = _python(f"{without}sys.exit(main({arguments}))")
    assert result.returncode == 1, result.stderr
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == ["a.nii.gz"]
    assert "b.nrrd: only plain NIfTI is read and written without the Python package SimpleITK" in result.stdout


def test_help_answers_without_loading_anything_heavy() -> None:
    program = (
        "import sys\nfrom attention_dmfnet.cli.main import main\n"
        "try: main(['predict', '--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('numpy', 'SimpleITK', 'cc3d', 'openvino', 'onnxruntime') if m in sys.modules])"
    )
    assert _python(program).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("module", ["__init__", "__main__"])
def test_what_an_older_python_reads_before_it_is_refused_is_in_words_that_it_knows(module: str) -> None:
    ast.parse((ENGINE / "attention_dmfnet" / f"{module}.py").read_text(), feature_version=(3, 7))


def test_an_older_python_is_refused_in_a_sentence() -> None:
    older = "import runpy, sys\nsys.version_info = (3, 9, 2, 'final', 0)\n"
    result = _python(f"{older}runpy.run_module('attention_dmfnet', run_name='__main__', alter_sys=True)")
    assert result.returncode == 2
    assert result.stderr == f"attention-dmfnet needs Python 3.11 or newer, {sys.executable} is 3.9\n"


def test_the_first_scan_is_begun_before_anything_heavy_is_imported(models: Path, tmp_path: Path) -> None:
    from attention_dmfnet.files.image_io import write_volume

    from tests.engine.tiny import block_phantom

    write_volume(block_phantom()[0], tmp_path / "a.nii.gz")
    arguments = ["predict", str(tmp_path / "a.nii.gz"), str(tmp_path / "out"), "--models", str(models)]
    program = (
        "import sys\nfrom attention_dmfnet.files import read_ahead\nstart = read_ahead.run_aside\n"
        # on the thread that imports: on the reader's, it may be that some of it is there when the clock comes round
        "def begun(*given):\n"
        "    print([m for m in ('numpy', 'openvino', 'cc3d', 'attention_dmfnet.segmenter') if m in sys.modules])\n"
        "    return start(*given)\n"
        "read_ahead.run_aside = begun\n"
        f"from attention_dmfnet.cli.main import main\nassert main({arguments}) == 0\n"
    )
    result = _python(program)
    assert result.stdout.splitlines()[0] == "[]", result.stderr
