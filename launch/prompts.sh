#!/usr/bin/env bash
# Downloads recorded English prompts (0.4 h of one voice) for the quickstart and the tests.
#
#   bash launch/prompts.sh FOLDER
#
# They are two packages of Debian and Ubuntu, which are downloaded and unpacked below FOLDER.
# Nothing is installed, so this needs no root. After a failure there is no FOLDER; an existing one
# is kept. If the packages cannot be downloaded, it ends with status 2 and one line of advice.
set -euo pipefail
packages=(asterisk-core-sounds-en-g722 asterisk-core-sounds-en) # sound; texts
folder="${1:?give the folder to unpack into}"
[ ! -d "$folder" ] || exit 0

fail() {
  echo "error: $*" >&2
  exit 2
}

if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
  fail "the recorded prompts are a Debian and Ubuntu package and apt-get is not here; give a" \
    "folder of speech instead, or --librispeech"
fi
mkdir -p "$(dirname "$folder")"
part="$(mktemp -d "$folder.XXXXXX")"
trap 'rm -rf "$part"' EXIT
if ! (cd "$part" && apt-get -qq download "${packages[@]}" 2>log); then
  cat "$part/log" >&2
  apt-cache show "${packages[0]}" >/dev/null 2>&1 ||
    fail "apt does not know the package ${packages[0]}: run 'sudo apt-get update' (on Ubuntu" \
      "with the component universe), or give a folder of speech instead"
  fail "apt-get could not download ${packages[*]}; its message is above; or give a folder of" \
    "speech instead"
fi
for deb in "$part"/*.deb; do
  dpkg -x "$deb" "$part/unpacked"
done
mv -T "$part/unpacked" "$folder"
