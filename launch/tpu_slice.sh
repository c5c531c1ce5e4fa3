# shellcheck shell=bash disable=SC2034,SC2154
# The calls of gcloud for tpu_run.sh, which sources this file: states, creation, deletion, commands
# on the workers. A dry run takes the same path; its commands are printed and assumed to succeed.

say() {
  echo "${dry_run:+# }== $*" # a comment among the commands of a dry run
}

fail() { # MESSAGE: one line, status 2
  echo "error: $*" >&2
  exit 2
}

pause() { # [SECONDS]
  [ -n "$dry_run" ] || sleep "${1:-$poll}"
}

quoted() { # WORD...: prints a line that a shell splits into the same words
  local word line=""
  for word; do
    [[ "$word" =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]] || word="${word@Q}"
    line+=" $word"
  done
  echo "${line# }"
}

run() { # COMMAND...
  if [ -n "$dry_run" ]; then
    quoted "$@" >&3
  else
    "$@" </dev/null
  fi
}

# Whether a message of gcloud means that trying again is useless. Waiting for capacity helps,
# waiting for quota does not, although both have the code RESOURCE_EXHAUSTED.
hopeless() { # MESSAGE
  local hopeless='quota|PERMISSION_DENIED|not have permission|INVALID_ARGUMENT|bad request'
  hopeless+='|UNAUTHENTICATED|gcloud auth|active account|reauthentic|billing|SERVICE_DISABLED'
  hopeless+='|(invalid|unrecognized) (choice|argument|value)'
  ! grep -qi 'per minute' <<<"$1" && grep -qiE "$hopeless" <<<"$1"
}

no_capacity() { # MESSAGE
  grep -qiE 'capacity|resource_pool_exhausted|resource_availability|stockout' <<<"$1"
}

# The number of failures in a row; a job that ran for a while resets it.
failures=0
failed() { # WHAT
  failures=$((failures + 1))
  say "$* (failure $failures of $max_failures in a row)"
  [ "$failures" -lt "$max_failures" ] || fail "$*; gave up after $failures failures in a row"
}

describe() { # sets `state` (Google's name of it, absent, or unknown) and `reason`
  local out
  reason=""
  if [ -n "$dry_run" ]; then
    run "${describe[@]}"
    state="$dry_state"
  elif out="$("${describe[@]}" 2>"$scratch/errors" </dev/null)"; then
    state="${out%%$'\t'*}"
    reason="${out#"$state"}"
    reason="${reason#$'\t'}"
  elif grep -qiE 'NOT_FOUND|not found' "$scratch/errors"; then
    state=absent
  else
    cat "$scratch/errors" >&2
    ! hopeless "$(<"$scratch/errors")" || fail "gcloud does not report the state of $name; see above"
    state=unknown
  fi
}

create_slice() {
  say "creating $name: $slices x $type in $zone"
  if run "${create[@]}" 2>&1 | tee "$scratch/errors" >&2; then
    dry_state=ACTIVE
    reached=1 # a new slice has no job of anybody else
    return
  fi
  local message
  message="$(<"$scratch/errors")"
  if hopeless "$message"; then
    fail "$name cannot be created; gcloud's message is above"
  elif no_capacity "$message"; then
    say "no capacity for $type in $zone; next try in $capacity_poll s"
    pause "$capacity_poll"
  elif grep -qE 'NOT_FOUND|not found' <<<"$message"; then
    fail "$name cannot be created: wrong --zone, --type, --version or --project? See above"
  else
    failed "creating $name failed"
    pause
  fi
}

delete_slice() {
  exists=""
  run "${delete[@]}" || say "deleting $name failed"
  dry_state=absent
}

ensure_slice() { # returns when the slice is ready
  while :; do
    describe
    case "$state" in
      READY | ACTIVE)
        exists=1
        return
        ;;
      absent)
        attached=""
        create_slice
        continue
        ;;
      PREEMPTED | TERMINATED | STOPPED | HIDDEN | FAILED | SUSPENDED)
        say "$name is $state${reason:+ ($reason)}; deleting it"
        if [ "$state" = FAILED ] && ! no_capacity "$reason"; then
          ! hopeless "$reason" || fail "$name cannot be created: $reason"
          failed "the request $name failed"
        fi
        delete_slice
        ;;
      *) say "$name is $state; waiting" ;;
    esac
    pause
  done
}

on_workers() { # COMMAND: runs on all workers of all slices at once; fails when one fails
  local node pids=() pid code=0
  # One call for each slice, because `queued-resources ssh --node=all` skips a slice that is down.
  for node in "${nodes[@]}"; do
    run "${ssh[@]}" "$node" --worker=all "${ssh_flags[@]}" "--command=$1" &
    if [ -n "$dry_run" ]; then wait; else pids+=($!); fi # a dry run prints in order
  done
  for pid in "${pids[@]}"; do
    wait "$pid" || code=$?
  done
  return "$code"
}

copy_code() {
  local node
  run git -C "$repository" archive "--output=$archive" HEAD || return
  for node in "${nodes[@]}"; do
    run "${scp[@]}" "$archive" "$node:uniwav_jax.tar.gz" --worker=all "${scp_flags[@]}" || return
  done
}

# Asks all workers about the job. Sets `job` to none, running, ended or mixed, and `lines` to the
# length of the shortest log.
probe() {
  local out word number rest code=0
  job="" running_command="" lines=""
  out="$(on_workers "$remote_state")" || code=$?
  [ -z "$out" ] || reached=1
  [ "$code" = 0 ] || return "$code"
  while read -r word number rest; do
    [[ "$word" == @(none|running|ended) ]] || continue
    if [ "$word" = running ]; then
      running_command="$rest"
      [ -n "$lines" ] && [ "$lines" -le "$number" ] || lines="$number"
    fi
    [ "${job:=$word}" = "$word" ] || job=mixed
  done <<<"$out"
  job="${job:-none}"
}

start_job() {
  local code=0
  if [ "$job" = running ] || [ "$job" = mixed ]; then
    on_workers "$remote_stop" || return
  fi
  say "copying the code and preparing the workers"
  copy_code && on_workers "$remote_prepare" && on_workers "$remote_start" || code=$?
  return "$code"
}

# Shows the log of worker 0, and sets `result` to the job's status, "stopped" or "lost". Lines are
# numbered, because gcloud itself repeats the command when the connection breaks.
follow() {
  local line number base="$seen"
  result=lost
  attached=1
  if [ -n "$dry_run" ]; then
    run "${ssh[@]}" "${nodes[0]}" --worker=0 "${follow_flags[@]}" "--command=$remote_follow $base"
    result=0
    return
  fi
  "${ssh[@]}" "${nodes[0]}" --worker=0 "${follow_flags[@]}" "--command=$remote_follow $base" \
    </dev/null | while IFS= read -r line; do
    number="${line%%:*}"
    if [ "$number" = end ]; then
      result="${line#end:}"
    elif [[ "$number" =~ ^[0-9]+$ ]] && [ $((base + number)) -gt "$seen" ]; then
      seen=$((base + number))
      printf '%s\n' "${line#*:}"
    fi
  done || true
}
