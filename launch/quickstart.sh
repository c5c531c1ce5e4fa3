#!/usr/bin/env bash
# Pretrains a model on CPU, with all steps: environment, speech, manifest, ArrayRecord, training.
#
#   bash launch/quickstart.sh --try                 no training: a page to listen to, made by the
#                                                   models that ship, of a recording that ships
#   bash launch/quickstart.sh                       recorded English prompts (0.4 h, one voice)
#   bash launch/quickstart.sh AUDIO_FOLDER          your own recordings
#   bash launch/quickstart.sh --librispeech[=PART]  LibriSpeech dev-clean (337 MB), or another PART:
#                                                   train-clean-100 (6.3 GB)
#   --workdir DIR    folder of the run (default runs/demo; runs/demo-NAME for other speech)
#   --steps N        length of the run        --config.KEY=VALUE    any other setting of the run
#
# The same command continues: finished stages are skipped, training resumes from its checkpoint.
# UNIWAV_VENV, PYTHON: see venv.sh. UNIWAV_DATA: folder for speech (default data/).
# UNIWAV_LIBRISPEECH_URL: another mirror, such as https://us.openslr.org/resources/12
set -euo pipefail
repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
data="$(realpath -m "${UNIWAV_DATA:-$repository/data}")"
mirror="${UNIWAV_LIBRISPEECH_URL:-https://www.openslr.org/resources/12}"

fail() {
  echo "error: $*" >&2
  trap - EXIT # report_failure would add nothing to the message
  exit 2
}

stage=""
stage() {
  stage="$1"
  echo "== $1"
}
report_failure() {
  local code=$?
  case "$code" in
    0) ;;
    130 | 143) echo "stopped in stage '$stage'; the same command continues" >&2 ;;
    *) echo "error: stage '$stage' failed with exit status $code" >&2 ;;
  esac
}
trap report_failure EXIT

# Whether OUTPUT exists and is newer than everything in INPUT (a file or a folder).
up_to_date() { # OUTPUT INPUT
  [ -e "$1" ] && [ -z "$(find "$2" -newer "$1" -print -quit)" ]
}

download_librispeech() { # PART
  local part="$1" archive="$data/$1.tar.gz" md5
  case "$part" in
    dev-clean) md5=42e2234ba48799c1f50f24a7926300a1 ;;
    train-clean-100) md5=2a93770f6d5c6c964bc36631d331a522 ;;
    *) fail "--librispeech=$part is not supported; use dev-clean or train-clean-100" ;;
  esac
  command -v curl >/dev/null || fail "curl is missing: 'sudo apt-get install curl'"
  mkdir -p "$data"
  verified() { echo "$md5  $archive" | md5sum --check --status 2>/dev/null; }
  if ! verified; then
    # This continues a partial download. The checksum detects failures, unless there is no file.
    curl -fL --retry 3 -C - --progress-bar -o "$archive" "$mirror/$part.tar.gz" ||
      [ -f "$archive" ] || fail "could not download $mirror/$part.tar.gz; check the network, or set" \
      "UNIWAV_LIBRISPEECH_URL to a mirror"
    verified || fail "$archive is incomplete or damaged (its MD5 is not $md5); run again to" \
      "continue the download, or delete the file if that does not help"
  fi
  tar -xzf "$archive" -C "$data"
  touch "$data/LibriSpeech/$part.unpacked"
}

audio="" librispeech="" workdir="" try="" settings=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    --try) try=1 ;;
    --librispeech) librispeech=dev-clean ;;
    --librispeech=*) librispeech="${1#*=}" ;;
    --workdir | --steps)
      [ $# -ge 2 ] || fail "$1 needs a value"
      if [ "$1" = --steps ]; then settings+=("--config.train.steps=$2"); else workdir="$2"; fi
      shift
      ;;
    --workdir=*) workdir="${1#*=}" ;;
    --steps=*) settings+=("--config.train.steps=${1#*=}") ;;
    --config.*=*) settings+=("$1") ;;
    -*) fail "unknown option $1; see bash launch/quickstart.sh --help" ;;
    *)
      [ -z "$audio" ] || fail "two folders given: $audio and $1; give one folder with both"
      audio="$(realpath -m "$1")"
      ;;
  esac
  shift
done
[ -z "$audio" ] || [ -d "$audio" ] || [ -n "$try" ] ||
  fail "$audio is not a folder; give the folder of the audio files"
[ -z "$audio" ] || [ -z "$librispeech" ] || fail "give either a folder or --librispeech, not both"

stage "environment"
# shellcheck source=launch/venv.sh
source "$repository/launch/venv.sh" "$([ -n "$try" ] && echo speak || echo cpu)"

if [ -n "$try" ]; then
  stage "what the models that ship make of a recording"
  [ ${#settings[@]} = 0 ] || fail "--try trains nothing; leave out ${settings[*]}"
  python -m uniwav_jax.cli tour ${audio:+"$audio"} --out "${workdir:-$repository/runs/try}"
  exit
fi

stage "speech"
if [ -n "$audio" ]; then
  # Folders with the same name must have different manifests, and names must have no comma, which
  # would separate two manifests.
  name="$(basename "$audio" | tr -c 'A-Za-z0-9._\n-' _)-$(echo "$audio" | md5sum | cut -c -6)"
  echo "your recordings in $audio"
elif [ -n "$librispeech" ]; then
  name="librispeech-$librispeech"
  audio="$data/LibriSpeech/$librispeech"
  [ -e "$audio.unpacked" ] || download_librispeech "$librispeech"
  echo "LibriSpeech $librispeech in $audio (CC BY 4.0, openslr.org/12)"
else
  name=asterisk
  audio="$data/asterisk_flac"
  sounds="$data/asterisk/usr/share/asterisk/sounds/en_US_f_Allison"
  texts="$data/asterisk/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
  bash "$repository/launch/prompts.sh" "$data/asterisk" || {
    code=$?
    trap - EXIT # report_failure would add nothing to the script's message
    exit "$code"
  }
  echo "English Asterisk prompts, read by Allison Smith (CC BY-SA 3.0), in $audio"
  if ! up_to_date "$data/asterisk/converted" "$sounds"; then
    python "$repository/tools/convert_audio.py" "$sounds" --out "$audio" --texts "$texts"
    touch "$data/asterisk/converted"
  fi
fi
workdir="${workdir:-$repository/runs/demo$([ "$name" = asterisk ] || echo "-$name")}"

stage "manifest"
manifest="$data/$name/manifest.tsv"
eval_manifest="$data/$name/eval.tsv"
mkdir -p "$data/$name"
if up_to_date "$manifest" "$audio" && [ -f "$eval_manifest" ]; then
  echo "$manifest is up to date"
else
  python "$repository/tools/build_manifest.py" "$audio" --out "$manifest" \
    --eval_out "$eval_manifest" --eval_fraction 0.05
fi

stage "ArrayRecord"
packed="$data/$name/packed"
if [ -d "$packed" ] && up_to_date "$packed.done" "$manifest"; then
  echo "$packed is up to date"
else
  rm -rf "$packed" # it was made from an older manifest
  python "$repository/tools/pack_array_record.py" "$manifest" --out "$packed"
  touch "$packed.done"
fi

stage "training"
# Ctrl-C and kill are passed to the training as SIGTERM, so that it saves before it ends.
training="" stopped=""
trap 'stopped=1; [ -z "$training" ] || kill -TERM "$training" 2>/dev/null' INT TERM
python -m uniwav_jax.main --config="$repository/configs/demo.py" --workdir="$workdir" \
  --config.data.manifest="$packed" --config.data.eval_manifest="$eval_manifest" \
  "${settings[@]}" &
training=$!
[ -z "$stopped" ] || kill -TERM "$training" # the signal came before the training started
while :; do
  code=0
  wait "$training" || code=$?
  kill -0 "$training" 2>/dev/null || break # otherwise a signal ended the wait
done
[ "$code" = 0 ] || exit "$code"

stage "done"
cat <<END
Files of the run in $workdir:
  checkpoints/    the model; the same command continues from the newest one
  metrics.jsonl   losses, perplexities and speed, one JSON object per line
  samples/        for each evaluation spectrograms (png) and real, masked and generated speech (wav)
What to do next:
  source ${UNIWAV_VENV:-$repository/.venv}/bin/activate
  tensorboard --logdir $workdir     curves, pictures and sound (pip install tensorboard)
  bash launch/quickstart.sh FOLDER                your own speech
  bash launch/quickstart.sh --steps N             a longer run; --workdir DIR starts a new one
  bash launch/gpu_run.sh --config=configs/pretrain_small_1gpu.py ...   a GPU; see launch/README.md
END
