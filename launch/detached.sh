#!/usr/bin/env bash
# Keeps one command running on this machine after the connection that started it has ended.
#
#   bash launch/detached.sh start COMMAND...   starts the command, unless one is running
#   bash launch/detached.sh state              "none", "running LINES COMMAND" or "ended STATUS"
#   bash launch/detached.sh follow [N]         the log after line N until it ends, then its status
#   bash launch/detached.sh stop [SECONDS]     SIGTERM, SIGKILL after SECONDS (60); then its status
#
# UNIWAV_JOB is the folder with the log of all starts, the command and its status (default
# ~/uniwav_job).
set -euo pipefail
job="${UNIWAV_JOB:-$HOME/uniwav_job}"
action="${1:-}"
[ $# = 0 ] || shift

# The lock ends with the process that holds it, also when the machine restarts. A pid could be
# reused.
running() {
  [ -e "$job/lock" ] && ! flock -n "$job/lock" true
}

status() {
  cat "$job/status" 2>/dev/null || echo unknown
}

lines() { # number of log lines of this start
  echo $(($(wc -l <"$job/log") + 1 - $(cat "$job/first")))
}

case "$action" in
  start)
    mkdir -p "$job"
    exec 9>>"$job/lock"
    if ! flock -w 2 9; then
      echo "already running: $(cat "$job/command")"
      exit 0
    fi
    rm -f "$job/status" "$job/stopped" "$job/pid"
    printf '%s\n' "$*" >"$job/command"
    echo "== $(date -u '+%F %T') $*" >>"$job/log"
    wc -l <"$job/log" >"$job/first"
    # It runs in a new session and inherits the lock.
    setsid bash "${BASH_SOURCE[0]}" run "$@" </dev/null >>"$job/log" 2>&1 &
    until [ -s "$job/pid" ]; do
      kill -0 $! || exit 1
      sleep 0.05
    done
    ;;
  run) # called by start
    trap : HUP INT TERM # the command receives these itself; this process waits for its status
    "$@" 9>&- &
    command=$!
    echo $$ >"$job/keeper"
    echo "$command" >"$job/pid"
    while :; do
      code=0
      wait "$command" || code=$?
      kill -0 "$command" 2>/dev/null || break
    done
    echo "$code" >"$job/status.part"
    mv "$job/status.part" "$job/status"
    ;;
  state)
    if running; then
      echo "running $(lines) $(cat "$job/command")"
    elif [ -e "$job/first" ]; then
      echo "ended $(status)"
    else
      echo none
    fi
    ;;
  follow)
    # Lines have the form N:TEXT, so that the reader can continue after a lost connection. The last
    # line is end:STATUS.
    from=$(($(cat "$job/first") + ${1:-0}))
    if running; then
      tail -n "+$from" -f -s 0.2 --pid="$(cat "$job/keeper")" "$job/log"
    else
      tail -n "+$from" "$job/log"
    fi | grep -an --line-buffered '' || true # grep fails when there is no line left to show
    if [ -e "$job/stopped" ] && [ "$(status)" != 0 ]; then
      echo "end:stopped"
    else
      echo "end:$(status)"
    fi
    ;;
  stop)
    if running; then
      touch "$job/stopped"
      kill -TERM "$(cat "$job/pid")" 2>/dev/null || true
      for ((i = 0; i < ${1:-60} * 5; i++)); do
        running || break
        sleep 0.2
      done
      if running; then
        kill -KILL -- "-$(cat "$job/keeper")"
        echo 137 >"$job/status"
      fi
    fi
    [ -e "$job/first" ] || exit 0
    echo "$HOSTNAME: exit status $(status)"
    case "$(status)" in
      0 | 143) ;;
      *) tail -n 5 "$job/log" | sed "s/^/$HOSTNAME: /" ;;
    esac
    ;;
  *)
    echo "error: give start, state, follow or stop; see launch/detached.sh" >&2
    exit 2
    ;;
esac
