#!/usr/bin/env bash
# Part of gpu_run.sh for UNIWAV_HOSTS: runs the same command on each host over ssh and ends them
# together. A host ends its job with SIGTERM, so that it saves, when its standard input ends; this
# includes a lost connection.
set -euo pipefail
launch="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

if [ "${1:-}" = --on_host ]; then
  shift
  exec 3<&0
  bash "$launch/gpu_run.sh" "$@" </dev/null 3<&- &
  job=$!
  {
    read -r -u 3 _ || true
    kill -TERM "$job"
    sleep "${UNIWAV_GRACE:-120}" # a job that waits for a lost process does not save
    kill -KILL "$job"
  } >/dev/null 2>&1 &
  code=0
  wait "$job" || code=$?
  kill $! 2>/dev/null || true
  exit "$code"
fi

dry_run=""
if [ "${1:-}" = --dry_run ]; then
  dry_run=1
  shift
fi
read -r -a hosts <<<"${UNIWAV_HOSTS//,/ }"
address="${JAX_COORDINATOR_ADDRESS:-${hosts[0]#*@}:8476}"
settings=()
for name in UNIWAV_EXTRA UNIWAV_VENV UNIWAV_GRACE PYTHON XLA_FLAGS XLA_PYTHON_CLIENT_MEM_FRACTION \
  JAX_OPTIMIZATION_LEVEL JAX_COMPILATION_CACHE_DIR CUDA_DEVICE_MAX_CONNECTIONS "${!NCCL_@}"; do
  [ -z "${!name:-}" ] || settings+=("$name=${!name}")
done

on_host() { # HOST WORD...: runs in this folder; %q keeps the words intact in the remote shell
  local host="$1" line
  line="cd $(printf %q "$PWD") && $(printf '%q ' env -u UNIWAV_HOSTS "${settings[@]}" "${@:2}")"
  set -- ssh -o BatchMode=yes -o ServerAliveInterval=30 "$host" "$line"
  if [ -n "$dry_run" ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

# Prepare one host first, so that the others find the environment ready on a shared file system.
on_host "${hosts[0]}" bash "$launch/gpu_run.sh" </dev/null

start() { # RANK WORD...
  on_host "${hosts[$1]}" "JAX_COORDINATOR_ADDRESS=$address" "NNODES=${#hosts[@]}" "NODE_RANK=$1" \
    bash "$launch/gpu_hosts.sh" --on_host "${@:2}"
}
if [ -n "$dry_run" ]; then
  for rank in "${!hosts[@]}"; do start "$rank" "$@"; done
  exit
fi

scratch="$(mktemp -d "${TMPDIR:-/tmp}/uniwav-XXXXXX")"
echo "== logs of the other hosts: $scratch/HOST.log"
mkfifo "$scratch/input"
exec 9<>"$scratch/input" # closing it tells the hosts to end
for rank in "${!hosts[@]}"; do
  (
    [ "$rank" = 0 ] || exec >"$scratch/${hosts[$rank]}.log" 2>&1
    code=0
    start "$rank" "$@" <"$scratch/input" || code=$?
    echo "$code" >"$scratch/part.$rank"
    mv "$scratch/part.$rank" "$scratch/status.$rank"
  ) 9>&- &
done
stop() {
  echo "== the hosts receive SIGTERM and save; press again to leave without waiting" >&2
  trap 'exit 130' INT TERM
  exec 9>&-
}
trap stop INT TERM

code=0 ended=0
while [ "$ended" -lt "${#hosts[@]}" ]; do
  sleep "${UNIWAV_POLL:-1}" || true # a signal ends the sleep
  ended=0
  for rank in "${!hosts[@]}"; do
    [ -e "$scratch/status.$rank" ] || continue
    ended=$((ended + 1))
    status="$(<"$scratch/status.$rank")"
    if [ "$status" != 0 ] && [ "$code" = 0 ]; then
      code="$status"
      [ "$rank" = 0 ] || tail -n 20 "$scratch/${hosts[$rank]}.log" >&2
      echo "== ${hosts[$rank]} ended with status $status; the others save and end" >&2
      exec 9>&-
    fi
  done
done
[ "$code" != 0 ] || rm -r "$scratch"
exit "$code"
