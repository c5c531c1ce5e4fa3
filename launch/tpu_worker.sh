#!/usr/bin/env bash
# Runs the training on this TPU VM; tpu_run.sh starts it on every worker of a slice.
#
#   bash launch/tpu_worker.sh --config=configs/pretrain_base.py --workdir=gs://BUCKET/runs/base
#   bash launch/tpu_worker.sh                                     only creates the environment
#
# UNIWAV_EXTRA   pip extras (default tpu,gcs); cpu installs none     UNIWAV_CHIP   v4, v5e, v5p, v6e
# UNIWAV_VENV, PYTHON: see venv.sh     JAX_COMPILATION_CACHE_DIR: default under ~/.cache
set -euo pipefail
launch="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$launch/flags.sh"

extras="${UNIWAV_EXTRA:-tpu,gcs}"
source "$launch/venv.sh" "$extras"
[ $# -gt 0 ] || exit 0

metadata() { # NAME: prints an attribute of this VM; outside Google Cloud it prints nothing
  curl -sf -m 5 -H 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1" || true
}
# GKE sets these variables; a TPU VM has them as attributes.
chip="${UNIWAV_CHIP:-${TPU_ACCELERATOR_TYPE:-$(metadata accelerator-type)}}"
slices="${MEGASCALE_NUM_SLICES:-$(metadata tpu-env |
  sed -n "s/^MEGASCALE_NUM_SLICES: *'\([0-9]*\)'.*/\1/p")}"
flags="$(tpu_flags "$chip" "${slices:-1}")"
# The caller's flags come last and override these.
export LIBTPU_INIT_ARGS="$flags ${LIBTPU_INIT_ARGS:-}"
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$HOME/.cache/uniwav_jax/xla}"
exec python -m uniwav_jax.main "$@"
