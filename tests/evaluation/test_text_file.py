"""Texts as people's programs save them, and sidecars in them."""

from pathlib import Path

import pytest
from attention_dmfnet.json_text import JsonError, decode_json

from evaluation.accuracy.annotated import annotated_labels
from evaluation.errors import EvaluationError
from evaluation.text_file import decode_text

TEXT = "case,patient\na,Müller\n"
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_text_is_read_in_whatever_encoding_it_was_saved(encoding: str) -> None:
    assert decode_text(TEXT.encode(encoding)) == TEXT


def test_bytes_that_are_no_text_are_read_as_something() -> None:
    assert len(decode_text(bytes(range(256)))) > 0
    assert decode_text(b"") == ""


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_sidecar_is_read_in_whatever_encoding_it_was_saved(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes('{"annotated": ["liver", "RK"]}'.encode(encoding))
    assert annotated_labels(tmp_path / "a.nii.gz") == {1, 2}


@pytest.mark.parametrize(
    "content", ['{"annotated": [' + '"x' * 3000 + '"]}', "[" * 30_000, "{", '{"annotated": ["a\\nb"]}', "\ud800"]
)
def test_a_sidecar_that_cannot_be_used_is_one_short_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(EvaluationError) as told:
        annotated_labels(tmp_path / "a.nii.gz")
    assert "a.json" in str(told.value)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 1500


@pytest.mark.parametrize("content", [b'{"a": "\xff"}', b"[" * 30_000, b"", b"{", b'"a\\nb"', b"\xff\xfe\0"])
def test_json_of_any_bytes_is_a_value_or_one_error(content: bytes) -> None:
    with pytest.raises(JsonError) as told:
        decode_json(content, dict[str, int])
    assert "\n" not in str(told.value)
