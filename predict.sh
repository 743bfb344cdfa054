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
else
  python=python3
fi

# -P: a folder named `attention_dmfnet` where this is called from must not be taken for ours
PYTHONPATH=$here/engine${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
exec "$python" -P -m engine predict "$inputs" "$outputs" "$@"
