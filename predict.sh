#!/bin/sh
# Label the organs in the CT scans of a folder: sh predict.sh [INPUTS] [OUTPUTS] [options]
# The options are those of `python -m attention_dmfnet predict --help`.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
inputs=/workspace/inputs
outputs=/workspace/outputs

# what starts with a dash is an option, and options come last
case ${1-} in
  '' | -*) ;;
  *) inputs=$1; shift ;;
esac
case ${1-} in
  '' | -*) ;;
  *) outputs=$1; shift ;;
esac

if [ -x "$here/.venv/bin/python" ]; then
  python=$here/.venv/bin/python
elif [ -e "$here/.venv" ]; then
  echo "predict.sh: the Python of $here/.venv does not start; type: make -C '$here' clean setup" >&2
  exit 2
elif command -v python3 >/dev/null; then
  python=python3
else
  echo "predict.sh: there is no python3; install Python 3.11 or newer, then type: make -C '$here' setup" >&2
  exit 2
fi

# What counts is this folder's code and the environment's packages: nothing of the caller's own Python, and no module
# that happens to lie in the folder where this is called (PYTHONSAFEPATH, where an older Python refuses the option -P).
unset PYTHONHOME
PYTHONPATH=$here/engine PYTHONNOUSERSITE=1 PYTHONSAFEPATH=1
export PYTHONPATH PYTHONNOUSERSITE PYTHONSAFEPATH
# The outputs are label maps alone: what scores them may take every file there for one (docs/run-record.md).
exec "$python" -m attention_dmfnet predict "$inputs" "$outputs" --no-record "$@"
