#!/usr/bin/env bash
# Runs the training on this machine's GPUs, with one process that drives all of them.
#
#   bash launch/gpu_run.sh --config=configs/pretrain_base.py --workdir=runs/base
#   bash launch/gpu_run.sh --dry_run ...    prints the command without running it
#   bash launch/gpu_run.sh                  only creates the environment
#
# The following command runs on several machines over ssh, which must all have this folder and the
# working directory. It shows the output of the first and ends all when one fails:
#   UNIWAV_HOSTS="host1 host2" bash launch/gpu_run.sh ...
# Without ssh, run the same command on each machine with JAX_COORDINATOR_ADDRESS=HOST:PORT of the
# first, NNODES and NODE_RANK in the environment. Under Slurm use slurm.sbatch, which runs one
# process per GPU.
# UNIWAV_EXTRA   pip extras (default: cuda12 or cuda13, as the driver supports); cpu installs none
# UNIWAV_VENV, PYTHON: see venv.sh     JAX_COMPILATION_CACHE_DIR: default under ~/.cache
set -euo pipefail
launch="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$launch/flags.sh"
if [ -n "${UNIWAV_HOSTS:-}" ]; then
  exec bash "$launch/gpu_hosts.sh" "$@"
fi

dry_run=""
if [ "${1:-}" = --dry_run ]; then
  dry_run=1
  shift
else
  extras="${UNIWAV_EXTRA:-$(gpu_extra)}"
  source "$launch/venv.sh" "$extras"
  [ $# -gt 0 ] || exit 0
fi

# The caller's flags come last and override these.
flags="$(gpu_flags)"
export XLA_FLAGS="$flags ${XLA_FLAGS:-}"
export JAX_OPTIMIZATION_LEVEL="${JAX_OPTIMIZATION_LEVEL:-O1}"
export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.9}"
if [[ "$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null)" == 9.* ]]; then
  # On Hopper this makes collectives and matmuls start in the order in which they were queued.
  export CUDA_DEVICE_MAX_CONNECTIONS="${CUDA_DEVICE_MAX_CONNECTIONS:-1}"
fi
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$HOME/.cache/uniwav_jax/xla}"
if [ -n "$dry_run" ]; then
  printf '%q ' XLA_FLAGS="$XLA_FLAGS" JAX_OPTIMIZATION_LEVEL="$JAX_OPTIMIZATION_LEVEL" \
    python -m uniwav_jax.main "$@"
  echo
  exit
fi
exec python -m uniwav_jax.main "$@"
