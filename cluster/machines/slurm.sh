#!/bin/bash
# An archive on a shared file system, labelled on Slurm. Start it with
#   sbatch --nodes 8 cluster/machines/slurm.sh /archive/scans /archive/labels
# in a clone that all machines see at this path, with `make setup` done. A job that was ended goes on when it is started
# again. The ledger lies on the first machine's own disk while the job runs, and beside the labels before and after.
#SBATCH --job-name=label-archive
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=32G
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
set -euo pipefail

inputs=${1:?usage: sbatch slurm.sh INPUTS OUTPUTS [options of predict]}
outputs=${2:?usage: sbatch slurm.sh INPUTS OUTPUTS [options of predict]}
shift 2

clone=${SLURM_SUBMIT_DIR:?start this with sbatch, in the clone}
scratch=${SLURM_TMPDIR:-/tmp}
ledger=$scratch/ledger.$SLURM_JOB_ID.sqlite
kept=$outputs/ledger.kept.sqlite
export PATH=$clone/.venv/bin:$PATH PYTHONPATH=$clone:$clone/engine RAY_USAGE_STATS_ENABLED=0
cd "$clone"

# not through a pipe to `head`: it leaves after the first name, and who still writes then fails
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts%%$'\n'*}
port=6379
# the machines find each other by a token that only this user can read
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(16))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN

mkdir -p "$outputs"
if [ -e "$kept" ]; then cp "$kept" "$ledger"; fi
keep() {
  # a copy of SQLite's own, whole whatever is being written
  if [ -e "$ledger" ]; then
    python -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(sys.argv[2]))' \
      "$ledger" "$kept.partial" && mv "$kept.partial" "$kept"
  fi
}
keeping() {
  # bash heeds a signal when the command before it has ended: what is being copied is copied to its end
  trap 'kill "$pause" 2> /dev/null || true; exit 0' TERM
  local pause=
  while sleep 60 & pause=$!; wait "$pause"; do keep; done
}
keeping &
keeper=$!
# one at a time, and the last one has all
trap 'kill "$keeper" 2> /dev/null || true; wait "$keeper" || true; keep' EXIT

srun --nodes 1 --ntasks 1 -w "$head" --overlap \
  ray start --head --port "$port" --num-cpus "$SLURM_CPUS_PER_TASK" --object-store-memory 100000000 --block &
sleep 20
if [ "$SLURM_NNODES" -gt 1 ]; then
  srun --nodes $((SLURM_NNODES - 1)) --ntasks $((SLURM_NNODES - 1)) --exclude "$head" --overlap \
    ray start --address "$head:$port" --num-cpus "$SLURM_CPUS_PER_TASK" --object-store-memory 100000000 --block &
  sleep 20
fi

# before the coordinator begins: a signal that comes at any moment is passed on
coordinator='' signalled=0 told=0
stop() {
  signalled=1
  if [ -n "$coordinator" ]; then
    told=1
    kill -TERM "$coordinator" 2> /dev/null || true
  fi
}
trap stop TERM
# in the background, so that Slurm's signal is heard at once
python -m cluster predict "$inputs" "$outputs" --address "$head:$port" --ledger "$ledger" \
  --workers $((SLURM_NNODES * SLURM_CPUS_PER_TASK)) "$@" &
coordinator=$!
if [ "$signalled" = 1 ] && [ "$told" = 0 ]; then stop; fi
# a signal ends bash's wait at once, and the coordinator has yet to end its cases and Ray
signalled=1
while [ "$signalled" = 1 ]; do
  signalled=0 status=0
  wait "$coordinator" || status=$?
done
exit "$status"
