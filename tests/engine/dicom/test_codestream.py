"""A compressed image cannot ask for more memory than its header admits."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from attention_dmfnet.dicom.codestream import stated_size
from attention_dmfnet.dicom.listing import only_case
from attention_dmfnet.files.image_io import ImageError
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from tests.engine.dicom.made import lossless_jpeg, save, write_series
from tests.engine.tiny import block_phantom

CT = block_phantom((6, 32, 40))[0]


def test_the_size_is_read_where_the_standards_have_it() -> None:
    assert stated_size(lossless_jpeg(np.zeros((3, 5), np.uint16))) == (3, 5)
    # a comment and filling before the frame
    assert stated_size(b"\xff\xd8\xff\xfe\x00\x04ab\xff\xff\xff\xc3\x00\x0b\x10\x01\x02\x03\x04\x01") == (258, 772)
    assert stated_size(b"no stream") is None
    assert stated_size(b"\xff\xd8\xff") is None


@pytest.mark.parametrize(
    ("syntax", "marker", "columns_after", "size"),
    # JPEG 2000 has the columns in four bytes; of JPEG-LS, they are the second pair behind the precision
    [(JPEG2000Lossless, b"\xff\x51", 6, 4), (JPEGLSLossless, b"\xff\xf7", 7, 2)],
)
def test_a_frame_that_says_more_than_its_header_is_refused_before_it_is_unpacked(
    syntax: str, marker: bytes, columns_after: int, size: int, tmp_path: Path
) -> None:
    for number, path in enumerate(write_series(CT, tmp_path)):
        image = pydicom.dcmread(path)
        image.compress(syntax)
        (stream,) = generate_frames(image.PixelData, number_of_frames=1)
        assert stated_size(stream) == (32, 40)
        if number == 2:
            at = stream.index(marker) + columns_after
            image.PixelData = encapsulate([stream[:at] + (60000).to_bytes(size, "big") + stream[at + size :]])
        save(image, path)
    with pytest.raises(ImageError, match="a compressed frame says 60000 x 32 pixels, its header 40 x 32"):
        only_case(tmp_path).read([])
