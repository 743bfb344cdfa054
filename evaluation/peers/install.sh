#!/bin/sh
# Make the peers' own environment: sh evaluation/peers/install.sh VENV   (PYTHON=python3.11 chooses the interpreter)
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
venv=${1:?usage: sh evaluation/peers/install.sh VENV}
torch=$(grep '^torch==' "$here/requirements.txt")

"${PYTHON:-python3}" -m venv "$venv"
# torch alone first: whichever build the index prefers (a CPU one, where there is a choice) then stays
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$torch"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
