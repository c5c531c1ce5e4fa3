#!/usr/bin/env bash
# Trains on a Cloud TPU slice from start to end: creates or reuses it, copies the committed code,
# runs the training on all workers, shows the log of worker 0, and continues after preemption.
#
#   bash launch/tpu_run.sh --name=uniwav --zone=us-east5-a --type=v6e-16 --spot -- \
#     --config=configs/pretrain_base.py --workdir=gs://BUCKET/runs/base
#   bash launch/tpu_run.sh --name=uniwav --zone=us-east5-a --stop    the job saves and ends
#   bash launch/tpu_run.sh --name=uniwav --zone=us-east5-a --down    deletes the slice
#
# --type=TYPE          v4-32, v5litepod-16, v5p-32, v6e-16, ...
# --version=VERSION    runtime image; default: that of the type
# --project=PROJECT    default: gcloud's
# --queued             waits in Google's queue instead of requesting a slice repeatedly
# --spot, --reserved   a cheaper slice that may be preempted; a slice of a reservation
# --slices=N           several slices, always queued (give it with --stop too); see mesh.slices
# --env=NAME=VALUE     variable for the workers, such as UNIWAV_EXTRA; may be repeated
# --create_flag=FLAG   for gcloud's create, such as --network=NAME; may be repeated
# --ssh_flag=FLAG      for gcloud's ssh and scp, such as --internal-ip; may be repeated
# --max_failures=N     gives up after N short jobs in a row (default 5)
# --delete_when_done   deletes the slice once the run is finished
# --dry_run            prints the commands of a first run and executes none
#
# The job does not need this script: after Ctrl-C or a lost connection the same command follows it.
# The exit status is 0 when the run is finished, 2 after a mistake or when the script gives up, and
# 143 when the job was stopped. Variables, in seconds: UNIWAV_POLL (30) between checks of the
# slice; UNIWAV_CAPACITY_POLL (300) between requests for capacity; UNIWAV_SHORT (600), below which
# a failed job counts as a failure. UNIWAV_SSH_TRIES (5): attempts before a slice whose workers do
# not answer is created again.
set -euo pipefail
if [ "${BASH_VERSINFO[0]}${BASH_VERSINFO[1]}" -lt 44 ]; then
  echo "error: bash is older than 4.4 (macOS: 'brew install bash')" >&2
  exit 2
fi
shopt -s lastpipe
launch="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
repository="$(dirname "$launch")"
# shellcheck source=launch/tpu_slice.sh
source "$launch/tpu_slice.sh"

name="" zone="" type="" version="" project="" queued="" tier="" slices=1 max_failures=5
delete_when_done="" dry_run="" action=run variables=() create_flags=() ssh_flags=() arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    --name=* | --zone=* | --type=* | --version=* | --project=* | --slices=* | --max_failures=*)
      option="${1%%=*}"
      [ -n "${1#*=}" ] || fail "$option needs a value"
      printf -v "${option#--}" %s "${1#*=}"
      ;;
    --queued) queued=1 ;;
    --spot | --reserved)
      [ -z "$tier" ] || [ "$tier" = "$1" ] || fail "give either --spot or --reserved"
      tier="$1"
      ;;
    --env=[A-Za-z_]*=*) variables+=("${1#--env=}") ;;
    --env=*) fail "--env needs NAME=VALUE" ;;
    --create_flag=*) create_flags+=("${1#*=}") ;;
    --ssh_flag=*) ssh_flags+=("${1#*=}") ;;
    --delete_when_done) delete_when_done=1 ;;
    --dry_run) dry_run=1 ;;
    --stop | --down) action="${1#--}" ;;
    --)
      shift
      arguments=("$@")
      break
      ;;
    --name | --zone | --type | --version | --project | --slices | --max_failures)
      fail "$1 needs a value: $1=VALUE"
      ;;
    --config* | --workdir*) fail "options of the run come after --; see --help" ;;
    *) fail "unknown option $1; see bash launch/tpu_run.sh --help" ;;
  esac
  shift
done
[[ "$name" =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] ||
  fail "--name=$name is not a name of small letters, digits and hyphens"
[ -n "$zone" ] || fail "--zone is missing"
for option in slices max_failures; do
  [[ "${!option}" =~ ^[1-9][0-9]*$ ]] || fail "--$option=${!option} is not a positive number"
done

check_run() {
  local argument previous="" config="" workdir=""
  [ -n "$type" ] || fail "--type is missing, such as --type=v6e-16"
  if [ -z "$version" ]; then
    case "$type" in
      v4-*) version=tpu-ubuntu2204-base ;;
      v5litepod-*) version=v2-alpha-tpuv5-lite ;;
      v5p-*) version=v2-alpha-tpuv5 ;;
      v6e-*) version=v2-alpha-tpuv6e ;;
      *) fail "--type=$type has no known runtime image; give --version" ;;
    esac
  fi
  for argument in "${arguments[@]}"; do
    case "$previous$argument" in
      --config=*) config="${argument#*=}" ;;
      --workdir=*) workdir="${argument#*=}" ;;
    esac
    previous=""
    [[ "$argument" != --config && "$argument" != --workdir ]] || previous="$argument="
  done
  [ -n "$config" ] || fail "--config of the run is missing; it comes after --"
  case "$workdir" in
    gs://*) ;;
    "") fail "--workdir of the run is missing; it comes after --" ;;
    /*) say "note: --workdir=$workdir must be a mount that all workers share and that stays" ;;
    *) fail "--workdir=$workdir would be on the workers' disks and lost with them; use gs://..." ;;
  esac
  git -C "$repository" rev-parse --quiet --verify HEAD >/dev/null ||
    fail "$repository has no commit of git to copy to the workers"
  if [ -n "$(git -C "$repository" status --porcelain)" ]; then
    say "note: uncommitted changes stay here; the workers get the last commit"
  fi
}

poll="${UNIWAV_POLL:-30}" capacity_poll="${UNIWAV_CAPACITY_POLL:-300}"
short="${UNIWAV_SHORT:-600}" ssh_tries="${UNIWAV_SSH_TRIES:-5}"
[ "$slices" = 1 ] || queued=1
place=("--zone=$zone" --quiet)
[ -z "$project" ] || place+=("--project=$project")
tpu_vm=(gcloud compute tpus tpu-vm) queue=(gcloud compute tpus queued-resources)
me="bash launch/tpu_run.sh --name=$name --zone=$zone${project:+ --project=$project}"
me_stop="$me --stop"
[ "$slices" = 1 ] || me_stop+=" --slices=$slices"
for flag in "${ssh_flags[@]}"; do me_stop+=" $(quoted "--ssh_flag=$flag")"; done
ssh_flags+=("${place[@]}")
ssh=("${tpu_vm[@]}" ssh) scp=("${tpu_vm[@]}" scp) scp_flags=("${ssh_flags[@]}")
nodes=("$name")
node_flags=("--node-id=$name")
if [ "$slices" -gt 1 ]; then
  nodes=()
  for ((i = 0; i < slices; i++)); do nodes+=("$name-$i"); done
  node_flags=("--node-count=$slices" "--node-prefix=$name")
fi
describe_node=("${tpu_vm[@]}" describe "$name" "${place[@]}" '--format=value(state)')
describe_queue=("${queue[@]}" describe "$name" "${place[@]}"
  '--format=value(state.state,state.failedData.error.message)')
delete_node=("${tpu_vm[@]}" delete "$name" "${place[@]}")
delete_queue=("${queue[@]}" delete "$name" "${place[@]}" --force) # with its nodes

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
exec 3>&1
detached="bash uniwav_jax/launch/detached.sh"

if [ "$action" = down ]; then
  dry_state=READY
  for kind in queue node; do # either may exist
    if [ "$kind" = queue ]; then
      what="queued resource $name" describe=("${describe_queue[@]}") delete=("${delete_queue[@]}")
    else
      what="TPU VM $name" describe=("${describe_node[@]}") delete=("${delete_node[@]}")
    fi
    describe
    case "$state" in
      unknown) fail "cannot tell whether there is a $what; gcloud's message is above" ;;
      absent) say "no $what in $zone" ;;
      *)
        say "deleting the $what in $zone, which is $state"
        run "${delete[@]}" || fail "the $what is not deleted; gcloud's message is above"
        ;;
    esac
  done
  exit
fi

if [ "$action" = stop ]; then
  say "the job on $name receives SIGTERM and has up to 10 minutes to save"
  on_workers "$detached stop 600" || fail "not all workers answered; try again, or $me --down"
  exit
fi

dry_state=absent
check_run
if [ -n "$queued" ]; then
  create=("${queue[@]}" create "$name" "${node_flags[@]}" "--runtime-version=$version")
  describe=("${describe_queue[@]}") delete=("${delete_queue[@]}")
else
  create=("${tpu_vm[@]}" create "$name" "--version=$version")
  describe=("${describe_node[@]}") delete=("${delete_node[@]}")
fi
create+=("${place[@]}" "--accelerator-type=$type" ${tier:+"$tier"} "${create_flags[@]}")
# With this option a dead connection ends the output of the log instead of blocking it.
follow_flags=("--ssh-flag=-oServerAliveInterval=30" "${ssh_flags[@]}")
environment=""
[ ${#variables[@]} = 0 ] || environment="env $(quoted "${variables[@]}") "
command=(${variables:+env "${variables[@]}"} bash launch/tpu_worker.sh "${arguments[@]}")
# The archive replaces everything but the environment. Images for TPU VMs have Python 3.10, so uv is
# installed, which brings its own.
remote_prepare="mkdir -p uniwav_jax && cd uniwav_jax && \
find . -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} + && tar xzf ../uniwav_jax.tar.gz && \
{ command -v python3.12 uv ~/.local/bin/uv >/dev/null || \
curl -LsSf https://astral.sh/uv/install.sh | sh; } && ${environment}bash launch/tpu_worker.sh"
remote_start="cd uniwav_jax && bash launch/detached.sh start $(quoted "${command[@]}")"
remote_state="if [ -e uniwav_job ]; then $detached state; else echo none; fi"
remote_stop="$detached stop"
remote_follow="$detached follow"
archive="$scratch/uniwav_jax.tar.gz" # its own, because slices of other zones may have this name
[ -z "$dry_run" ] || archive="${TMPDIR:-/tmp}/uniwav_jax-$name.tar.gz"

at_exit() {
  local code=$?
  rm -rf "$scratch"
  if [ -n "$exists" ] && [ -z "$dry_run" ]; then
    say "$name still exists and costs money; to delete it: $me --down"
  fi
  exit "$code"
}
interrupted() {
  trap - INT
  # shellcheck disable=SC2046
  kill $(jobs -p) 2>/dev/null || true
  echo
  if [ -n "$attached" ]; then
    say "the job goes on; the same command follows it again; to end it: $me_stop"
  fi
  exit 130
}
exists="" attached="" reached="" seen=0 tries=0 began=0
trap at_exit EXIT
trap interrupted INT
while :; do
  ensure_slice
  if ! probe; then
    answered=255
  elif [ -n "$attached" ] && [ "$job" != none ]; then
    answered=0
  elif [ "$job" = running ]; then
    [ "$running_command" = "${command[*]}" ] ||
      fail "another job runs on $name: $running_command; to end it: $me_stop"
    say "the job is running already; the end of its log, and new lines:"
    answered=0 began=$SECONDS seen=$((lines > 100 ? lines - 100 : 0))
  else
    answered=0 began=$SECONDS seen=0
    start_job || answered=$?
  fi
  if [ "$answered" = 255 ]; then # ssh's own status
    tries=$((tries + 1))
    say "not all workers of $name answer (try $tries of $ssh_tries)"
    if [ "$tries" -ge "$ssh_tries" ]; then
      tries=0
      # If no worker ever answered, perhaps only ssh fails here, and a job is running there.
      [ -n "$reached" ] || fail "no worker of $name ever answered; repair ssh, or $me --down"
      failed "workers of $name do not answer"
      delete_slice
    fi
    pause
    continue
  elif [ "$answered" != 0 ]; then
    failed "preparing the workers of $name failed"
    pause
    continue
  fi
  tries=0
  follow
  case "$result" in
    0) break ;;
    2) fail "the run ended with status 2; its message is above" ;;
    stopped)
      say "the job was stopped; the same command continues it"
      exit 143
      ;;
    lost)
      say "the connection to $name was lost; the job may still be running"
      pause
      continue
      ;;
  esac
  say "the job ended with status $result"
  attached=""
  [ $((SECONDS - began)) -lt "$short" ] || failures=0
  pause
  describe
  if [[ "$state" == @(READY|ACTIVE) ]]; then
    report="$(on_workers "$remote_stop")" || true # stops the rest, shows their ends
    echo "$report"
    ! grep -q ': exit status 2$' <<<"$report" || fail "a worker ended with status 2; see above"
    [ "$result" = 143 ] || failed "the job ended with status $result"
  fi
done
say "the run is finished"
if [ -n "$delete_when_done" ]; then
  say "deleting $name"
  delete_slice
fi
