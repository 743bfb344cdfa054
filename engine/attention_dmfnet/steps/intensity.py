"""From Hounsfield units to what a network takes."""

import numpy as np
import numpy.typing as npt


def normalise(
    hu: npt.NDArray[np.float32], window_hu: tuple[float, float], mean_hu: float, std_hu: float
) -> npt.NDArray[np.float32]:
    """Clip to ``window_hu`` and return (HU - mean) / standard deviation, as a new array of any shape."""
    low, high = window_hu
    normal = np.clip(hu, np.float32(low), np.float32(high))
    normal -= np.float32(mean_hu)
    normal /= np.float32(std_hu)
    return normal
