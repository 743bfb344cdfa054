"""What the pages say of the code is so: files and links are there, Python runs, the JSON has the fields named."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.folder import CaseReport
from attention_dmfnet.steps.quality import _AXIS_CODES

from tests.engine.tiny import block_phantom
from training.network.attention_dmfnet import AttentionDMFNet
from training.network.size import convolution_macs, parameters

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "evaluation" / "peers" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES.append(ROOT / "models" / "MODEL_CARD.md")

PLACES = (ROOT, ROOT / "engine" / "attention_dmfnet", ROOT / "training" / "painting")
"""A page may name a file from one of these folders on, where it says so."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)(?:#[\w-]+)?\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_of_code_that_is_named_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|sh|toml))`", text)
    places = (*PLACES, page.parent)
    # what a user writes, or what a run folder holds
    own = {"selection.toml", "recipe.toml"}
    assert [name for name in named if name not in own and not any((place / name).exists() for place in places)] == []


def python_blocks() -> list[str]:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/python.md", "docs/viewers.md")]
    blocks = [block for text in texts for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]
    # what reads other programs' files is run where these are made: tests/test_viewers_page.py
    return [block for block in blocks if "slicerio" not in block]


def run_python(code: str, folder: Path, *options: str) -> str:
    """What ``code`` prints beside a scan of blocks, with the networks of the release. It has to end well."""
    write_volume(block_phantom()[0], folder / "scan.nii.gz")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "engine"), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("block", python_blocks(), ids=range(len(python_blocks())))
def test_the_python_of_the_pages_runs(block: str, tmp_path: Path) -> None:
    """With the networks of the release, on a scan of blocks."""
    check = "assert result.labels.array.dtype.name == 'uint8' and len(result.volumes_ml) == 13, result"
    run_python(f"{block}\n{check}", tmp_path)


def test_the_notebook_runs(tmp_path: Path) -> None:
    """All its cells, one after the other in one Python, on a scan of blocks."""
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code"), "clear its outputs"
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    check = "assert picture.shape == (24, 28, 3) and plt.gcf().axes[0].images"
    printed = run_python(f"{code}\n{check}", tmp_path, "-W", "error")
    assert re.search(r"^liver +\d+\.\d mL$", printed, re.MULTILINE)
    assert (tmp_path / "labels.nii.gz").exists()


def test_the_page_names_every_field_of_the_json() -> None:
    text = (ROOT / "docs" / "input-output.md").read_text(encoding="utf-8")
    section = text.partition("### JSON")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(CaseReport.__struct_fields__)


def test_the_page_names_every_note() -> None:
    text = (ROOT / "docs" / "input-output.md").read_text(encoding="utf-8")
    section = text.partition("### Notes")[2].partition("### JSON")[0]
    engine = "".join(path.read_text() for path in (ROOT / "engine").rglob("*.py"))
    rows = re.findall(r"^\| `(.+?)` \| `([\w-]+)`", section, re.MULTILINE)
    for note, _ in rows:
        # the words between what differs from scan to scan
        for part in re.split(r"\b(?!HU\b)[A-Z]+\b", note):
            assert part.strip() in engine, note


def test_the_page_names_every_code_of_a_note_and_no_other() -> None:
    text = (ROOT / "docs" / "input-output.md").read_text(encoding="utf-8")
    section = text.partition("### Notes")[2].partition("### JSON")[0]
    engine = "".join(path.read_text() for path in (ROOT / "engine").rglob("*.py"))
    codes = {*re.findall(r"\bNote\(\s*\"([\w-]+)\"", engine), *_AXIS_CODES}
    assert sorted(re.findall(r"^\| `.+?` \| `([\w-]+)`", section, re.MULTILINE)) == sorted(codes)


def test_the_method_states_the_size_of_the_fine_network() -> None:
    text = " ".join((ROOT / "docs" / "method.md").read_text(encoding="utf-8").split())
    network = AttentionDMFNet(classes=14)
    millions = parameters(network) / 1e6
    # two floating-point operations for each multiply-add
    gflop = 2 * convolution_macs(network, (1, 1, 80, 192, 160)) / 1e9
    assert f"{millions:.2f} M parameters and {gflop:.1f} GFLOP at the paper's patch of 80x192x160" in text
