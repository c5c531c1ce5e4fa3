#!/usr/bin/env bash
# Runs the entry point on this TPU VM; on a pod, start it on every worker (launch/README.md).
#
#   bash launch/tpu_run.sh --config=configs/pretrain_base.py --workdir=gs://BUCKET/runs/base
#
# UNIWAV_EXTRA   pip extras (default tpu,gcs); cpu: none     UNIWAV_CHIP   v4, v5e, v5p, v6e
# UNIWAV_VENV, PYTHON: see venv.sh     JAX_COMPILATION_CACHE_DIR: default under ~/.cache
set -euo pipefail
launch="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$launch/flags.sh"

extras="${UNIWAV_EXTRA:-tpu,gcs}"
source "$launch/venv.sh" "$extras"

metadata() { # NAME: an attribute of this VM; empty off Google Cloud
  curl -sf -m 5 -H 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1" || true
}
# GKE sets the variables; a TPU VM has them as attributes.
chip="${UNIWAV_CHIP:-${TPU_ACCELERATOR_TYPE:-$(metadata accelerator-type)}}"
slices="${MEGASCALE_NUM_SLICES:-$(metadata tpu-env |
  sed -n "s/^MEGASCALE_NUM_SLICES: *'\([0-9]*\)'.*/\1/p")}"
flags="$(tpu_flags "$chip" "${slices:-1}")"
# Flags of the caller come last and win.
export LIBTPU_INIT_ARGS="$flags ${LIBTPU_INIT_ARGS:-}"
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$HOME/.cache/uniwav_jax/xla}"
exec python -m uniwav_jax.main "$@"
