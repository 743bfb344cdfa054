import subprocess
import sys

SCRIPT = """
import sys
from tests.training.spheres import Spheres, recipe
from training.learning.batches import batches
from msgspec.structs import replace

if __name__ == "__main__":
    here = recipe()
    here = replace(here, sampling=replace(here.sampling, workers=1))
    drawn = batches(Spheres(), here, first=0, rank=0, processes=1)
    print(len(next(drawn).weights), flush=True)
    sys.keep = drawn  # as a traceback keeps it
    raise BrokenPipeError("nobody reads what is said at the end")
"""


def test_a_process_ends_although_an_error_keeps_the_loader() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=180, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (1, "2")
    assert "BrokenPipeError: nobody reads" in ended.stderr
