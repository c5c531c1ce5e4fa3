# shellcheck shell=bash
# Compiler flags for each chip. Source this file; its functions print flags and set nothing.
# XLA ends the process on an unknown flag, so every flag here was tried with the jaxlib that
# setup.py allows; tests/launch starts a process with the flags for GPUs.

# tpu_flags CHIP [SLICES]: for LIBTPU_INIT_ARGS only, because in XLA_FLAGS an xla_tpu_* flag ends
# any process that runs on CPU or GPU. CHIP is v4, v5e, v5p, v6e or an accelerator type such as
# v5litepod-16.
tpu_flags() {
  # These overlap the all-gathers of FSDP with matmuls. v5e does so by default, v5p and v6e do not.
  local flags="--xla_tpu_enable_async_collective_fusion=true \
--xla_tpu_enable_async_collective_fusion_fuse_all_gather=true \
--xla_tpu_enable_async_collective_fusion_multiple_steps=true \
--xla_tpu_overlap_compute_collective_tc=true --xla_enable_async_all_gather=true"
  case "$1" in
    # We do not raise xla_tpu_scoped_vmem_limit_kib, as others do: on v5p and v6e compilation then
    # takes twice as long, and the compiler estimates a tenth more cycles (base, v6e).
    v4* | v5e* | v5litepod* | v5p* | v6e*) ;;
    *) echo "note: no tuned flags for chip '$1'; using the common set" >&2 ;;
  esac
  if [ "${2:-1}" -gt 1 ]; then # gradients cross the network between slices
    flags+=" --xla_tpu_enable_data_parallel_all_reduce_opt=true \
--xla_tpu_data_parallel_opt_different_sized_ops=true"
  fi
  echo "$flags"
}

# gpu_flags: for XLA_FLAGS. Latency hiding and pipelined collectives come from
# JAX_OPTIMIZATION_LEVEL=O1 (gpu_run.sh). Collectives are combined up to 128 MiB, which is two
# layers of the large model in float32.
gpu_flags() {
  local bytes=134217728
  echo "--xla_gpu_all_gather_combine_threshold_bytes=$bytes \
--xla_gpu_reduce_scatter_combine_threshold_bytes=$bytes \
--xla_gpu_all_reduce_combine_threshold_bytes=$bytes"
}

# gpu_extra: prints cuda12 or cuda13, whichever the driver and the card support; fails without a
# driver.
gpu_extra() {
  local driver capability
  if ! driver="$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null)" ||
    ! capability="$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null)"; then
    echo "error: nvidia-smi finds no GPU driver; install one, or set UNIWAV_EXTRA=cpu" >&2
    return 2
  fi
  # CUDA 13 needs driver 580 and compute capability 7.5 (so not V100).
  if [ "${driver%%.*}" -ge 580 ] && [[ "${capability%%$'\n'*}" != @(5.*|6.*|7.0|7.2) ]]; then
    echo cuda13
  else
    echo cuda12
  fi
}
