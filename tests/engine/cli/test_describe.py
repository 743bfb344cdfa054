"""``describe``: the contract that is printed is the one that holds."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from attention_dmfnet.cli.commands import COMMANDS
from attention_dmfnet.cli.main import main
from attention_dmfnet.cli.status import DONE, UNUSABLE
from attention_dmfnet.files.cases import EXTENSIONS
from attention_dmfnet.model.loading import default_models
from attention_dmfnet.model.manifest import load_manifest

from evaluation.organs import ORGANS

ROOT = Path(__file__).parents[3]


def test_the_contract_is_that_of_the_models_and_of_the_pages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "--json"]) == DONE
    found = json.loads(capsys.readouterr().out)
    assert found["labels"] == {"background": 0, **{organ: n for n, organ in enumerate(ORGANS, start=1)}}
    assert found["inputs"]["formats"] == list(EXTENSIONS)
    manifest = load_manifest(default_models())
    named = {file: sha256 for network in found["networks"] for file, sha256 in network["files"].items()}
    for stage in (manifest.coarse, manifest.fine):
        assert stage.weights is not None
        assert named[stage.weights.file] == stage.weights.sha256
        assert all(named[variant.file] == variant.sha256 for variant in stage.variants)
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    table = page.partition("## By the organisers' protocol")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| [\w-]+ \| (\d+x\d+x\d+) \| [\d.]+ \| [\d.]+ \| (\d+) \|$", table, re.MULTILINE)
    assert found["memory_mib"] == {voxels: int(mib) for voxels, mib in rows}
    page = (ROOT / "docs" / "input-output.md").read_text(encoding="utf-8").partition("## Exit status")[2]
    assert list(found["exit_statuses"]) == re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    script = (ROOT / "predict.sh").read_text(encoding="utf-8")
    assert f"inputs={found['inputs']['in_container']}\n" in script
    assert f"outputs={found['outputs']['in_container']}\n" in script


def test_for_people_every_label_and_hash_is_there(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "--models", str(models)]) == DONE
    said = capsys.readouterr().out
    for number, organ in enumerate(ORGANS, start=1):
        assert f", {number} {organ}" in said
    assert load_manifest(models).fine.variants[0].sha256 in said


def test_without_a_manifest_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "--models", str(tmp_path)]) == UNUSABLE
    assert "no manifest at" in capsys.readouterr().err


def test_the_words_that_the_image_puts_on_the_path_are_commands(tmp_path: Path) -> None:
    """The Dockerfile's own line, in another folder and with a Python that prints what it is given."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"^RUN (printf .*)$", text, re.MULTILINE)
    subprocess.run(["bash", "-c", line.replace("/opt/venv/bin", str(tmp_path))], check=True)
    words = {path.name for path in tmp_path.iterdir()}
    assert words == {"attention-dmfnet", "describe", "doctor"}
    assert words - {"attention-dmfnet"} <= set(COMMANDS)
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\nfor a in "$@"; do echo "[$a]"; done\n')
    python.chmod(0o755)
    for word in words:
        done = subprocess.run(
            [str(tmp_path / word), "--a b"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True
        )
        own = [] if word == "attention-dmfnet" else [f"[{word}]"]
        assert done.stdout.split("\n")[:-1] == ["[-m]", "[attention_dmfnet]", *own, "[--a b]"]
