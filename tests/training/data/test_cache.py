import pickle
from pathlib import Path

import blosc2
import numpy as np
import pytest

from training.data.cache import CachedArray, CacheError, replacing_folder, write_array, write_text


@pytest.fixture
def counting(tmp_path: Path) -> Path:
    """40 x 70 x 70 voxels, more than one chunk along every axis, each with its own number."""
    path = tmp_path / "counting.b2nd"
    write_array(np.arange(40 * 70 * 70, dtype=np.int32).reshape(40, 70, 70), path)
    return path


def test_any_part_is_read_as_it_was_written(counting: Path) -> None:
    part = CachedArray(counting).read((30, 60, 5), (4, 9, 66), outside=-1)
    expected = np.arange(40 * 70 * 70).reshape(40, 70, 70)[30:34, 60:69, 5:71]
    # the last column would be number 70 of 70
    np.testing.assert_array_equal(part[..., :65], expected)
    assert (part[..., 65:] == -1).all()


def test_what_lies_beyond_either_end_is_outside(counting: Path) -> None:
    part = CachedArray(counting).read((-2, 69, 0), (3, 2, 1), outside=-7)
    assert part[:, :, 0].tolist() == [[-7, -7], [-7, -7], [69 * 70, -7]]


def test_a_part_wholly_beyond_the_array_is_outside(counting: Path) -> None:
    for start in ((-9, 0, 0), (40, 0, 0), (0, 500, 0)):
        assert (CachedArray(counting).read(start, (3, 3, 3), outside=5) == 5).all()


def test_the_whole_is_read_back(counting: Path) -> None:
    assert CachedArray(counting).read((0, 0, 0), (40, 70, 70), outside=-7).sum() == sum(range(40 * 70 * 70))


def test_an_array_of_another_size_than_was_said_is_damaged_and_nothing_is_made_for_it(counting: Path) -> None:
    assert CachedArray(counting).read_whole((40, 70, 70)).shape == (40, 70, 70)
    with pytest.raises(CacheError, match=r"counting\.b2nd is missing or damaged"):
        # 40 TB, if anything were
        CachedArray(counting).read_whole((1_000_000, 1_000_000, 10))


def test_an_array_can_be_sent_to_another_process(counting: Path) -> None:
    array = CachedArray(counting)
    array.read((0, 0, 0), (1, 1, 1), outside=0)
    assert pickle.loads(pickle.dumps(array)).read((0, 0, 3), (1, 1, 1), outside=0).item() == 3


@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_a_damaged_file_is_named(counting: Path, content: bytes | None) -> None:
    counting.write_bytes(counting.read_bytes()[:2000] if content is None else content)
    with pytest.raises(CacheError, match=r"counting.b2nd is missing or damaged; delete .* prepare"):
        CachedArray(counting).read((0, 0, 0), (1, 1, 1), outside=0)


def test_a_folder_is_replaced_by_a_whole_one(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    for number in (1, 2):
        with replacing_folder(folder) as partial:
            (partial / f"{number}").touch()
    assert [path.name for path in folder.iterdir()] == ["2"]
    assert list(tmp_path.iterdir()) == [folder]


def fail_to_replace(folder: Path) -> None:
    with replacing_folder(folder) as partial:
        (partial / "new").mkdir()
        (partial / "new").mkdir()


def test_an_interrupted_folder_leaves_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    with replacing_folder(folder) as partial:
        (partial / "old").touch()
    with pytest.raises(FileExistsError):
        fail_to_replace(folder)
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match=r"cannot write .*file/index.json"):
        write_text("{}", tmp_path / "file" / "index.json")


def test_a_file_of_blosc_that_is_no_array_is_damaged(tmp_path: Path) -> None:
    """Found by fuzzing: one bit of the header makes a bare chunk of an array."""
    path = tmp_path / "image.b2nd"
    blosc2.SChunk(data=bytes(1000), urlpath=str(path), contiguous=True, cparams=blosc2.CParams(typesize=2))
    with pytest.raises(CacheError, match="is missing or damaged"):
        CachedArray(path).read((0, 0, 0), (2, 2, 2), outside=0)


def test_a_type_of_numbers_that_is_no_python_is_damaged(counting: Path) -> None:
    """Found by fuzzing: Blosc reads the type's name as Python, and raised a ``SyntaxError``."""
    content = counting.read_bytes()
    assert b"<i4" in content
    counting.write_bytes(content.replace(b"<i4", b"(i4"))
    with pytest.raises(CacheError, match="is missing or damaged"):
        CachedArray(counting).read((0, 0, 0), (2, 2, 2), outside=0)
