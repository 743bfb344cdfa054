import copy
import pickle

import pytest
from attention_dmfnet.notes import Note, doubts


def test_a_note_reads_as_its_sentence_and_has_a_code() -> None:
    note = Note("roi-at-edge", "the organs reach the edge")
    assert f"{note}" == "the organs reach the edge"
    assert note.code == "roi-at-edge"


def test_a_note_survives_another_process() -> None:
    note = Note("no-roi", "nothing")
    for again in (pickle.loads(pickle.dumps(note)), copy.deepcopy(note)):
        assert again == note
        assert again.code == "no-roi"


@pytest.mark.parametrize("settled", ["empty-voxels", "values-offset-1024", "units-converted", "header-voxel-offset"])
def test_what_is_settled_is_no_doubt(settled: str) -> None:
    doubtful = Note("values-no-hu", "MR")
    assert doubts([Note(settled, "said"), doubtful]) == [doubtful]
