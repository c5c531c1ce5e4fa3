#!/usr/bin/env bash
# Runs the entry point on this machine's GPUs: one process that drives all of them.
#
#   bash launch/gpu_run.sh --config=configs/pretrain_base.py --workdir=runs/base
#
# Several machines: the same command on each, with JAX_COORDINATOR_ADDRESS=HOST:PORT of the first,
# NNODES and NODE_RANK in the environment. Under Slurm: slurm.sbatch, one process per GPU.
# UNIWAV_EXTRA   pip extras (default cuda12 or cuda13, by the driver); cpu: none
# UNIWAV_VENV, PYTHON: see venv.sh     JAX_COMPILATION_CACHE_DIR: default under ~/.cache
set -euo pipefail
launch="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$launch/flags.sh"

extras="${UNIWAV_EXTRA:-$(gpu_extra)}"
source "$launch/venv.sh" "$extras"

# Flags of the caller come last and win.
flags="$(gpu_flags)"
export XLA_FLAGS="$flags ${XLA_FLAGS:-}"
export JAX_OPTIMIZATION_LEVEL="${JAX_OPTIMIZATION_LEVEL:-O1}"
export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.9}"
if [[ "$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null)" == 9.* ]]; then
  # Hopper: collectives and matmuls reach the card in the order in which they were queued.
  export CUDA_DEVICE_MAX_CONNECTIONS="${CUDA_DEVICE_MAX_CONNECTIONS:-1}"
fi
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$HOME/.cache/uniwav_jax/xla}"
exec python -m uniwav_jax.main "$@"
