import numpy as np
from attention_dmfnet.steps.intensity import normalise


def test_intensities_are_clipped_then_centred_and_scaled() -> None:
    hu = np.array([-1000.0, -200.0, 50.0, 200.0, 30_000.0], dtype=np.float32)
    normal = normalise(hu, window_hu=(-200.0, 300.0), mean_hu=50.0, std_hu=150.0)
    np.testing.assert_allclose(normal, [-250 / 150, -250 / 150, 0.0, 1.0, 250 / 150], rtol=1e-6)
    assert normal.dtype == np.float32


def test_the_scan_itself_is_left_as_it_was() -> None:
    hu = np.full((2, 3, 4), 1000.0, dtype=np.float32)
    normalise(hu, window_hu=(0.0, 1.0), mean_hu=0.0, std_hu=1.0)
    assert (hu == 1000).all()
