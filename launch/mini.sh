#!/usr/bin/env bash
# Trains the models that ship with the package, in the order in which each needs the one before.
#
#   bash launch/mini.sh TRAIN.tsv EVAL.tsv TEXTS.tsv PHONES.tsv PHONES_EVAL.tsv OUT
#
# TRAIN.tsv, EVAL.tsv            manifests (uniwav data manifest)
# TEXTS.tsv                      speech with texts, for recognition
# PHONES.tsv, PHONES_EVAL.tsv    manifests with aligned phones (uniwav data phones)
# OUT                            folder of the runs, and of the weights in OUT/weights
#
# The same command continues: runs from their checkpoints, finished weights stay. About eleven hours
# of one CPU core in all.
set -euo pipefail

[ $# = 6 ] || {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}
train="$1" eval="$2" texts="$3" phones="$4" phones_eval="$5" out="$6"

run() { # NAME CONFIG MANIFEST EVAL_MANIFEST SETTINGS...
  uniwav train --config="$2" --workdir="$out/$1" --config.data.manifest="$3" \
    --config.data.eval_manifest="$4" "${@:5}"
}
weights() { # NAME OF_RUN OPTIONS...
  [ -d "$out/weights/$1" ] ||
    uniwav export --checkpoint "$out/$2" --weights --out "$out/weights/$1" "${@:3}"
}

run mini mini "$train" "$eval"
run tokens mini_tokenizer "$train" "$eval" --config.init_from="$out/mini" --config.tokenizer.layer=5
run asr mini_asr "$texts" "$eval" --config.init_from="$out/mini"
run asr-more mini_asr "$texts" "$eval" --config.init_from="$out/asr" \
  --config.train.steps=1000 "--config.data.speeds=(0.9,1.0,1.1)"
run tts mini_tts "$phones" "$phones_eval" --config.init_from="$out/mini" \
  --config.init_parts=encoder,decoder
run tts-more mini_tts "$phones" "$phones_eval" --config.init_from="$out/tts" \
  --config.init_parts=encoder,decoder --config.train.steps=2500

weights mini mini --without decoder
weights mini-asr asr-more --base "$out/weights/mini"
weights mini-tokenizer tokens --base "$out/weights/mini"
weights mini-tts tts-more --base "$out/weights/mini-tokenizer"
