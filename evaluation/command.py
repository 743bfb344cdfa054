"""How a command ends: its exit status, and one sentence on standard error if something is wrong."""

import sys
from collections.abc import Callable

DONE, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130


def tell(line: str) -> None:
    """Print ``line`` on standard error at once: how far a command is."""
    print(line, file=sys.stderr, flush=True)


def run_command(program: str, command: Callable[[], int]) -> int:
    """The status that ``command`` returns, or 1 if it fails, 2 if its arguments cannot be used, 130 after Ctrl-C."""
    # imported late, so that --help needs no image library
    from attention_dmfnet.files.cases import InputError, printable
    from attention_dmfnet.files.image_io import ImageError
    from attention_dmfnet.geometry import GeometryError

    from evaluation.errors import ArgumentsError, EvaluationError

    try:
        return command()
    except (InputError, ArgumentsError) as error:
        print(f"{program}: {printable(str(error))}", file=sys.stderr)
        return UNUSABLE
    except (EvaluationError, GeometryError, ImageError, OSError) as error:
        print(f"{program}: {printable(str(error))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
