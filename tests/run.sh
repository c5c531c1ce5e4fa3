#!/usr/bin/env bash
# Everything a change must pass: environment, style, the whole test suite.
#
#   bash tests/run.sh [PYTEST ARGUMENTS]
#
# UNIWAV_VENV, PYTHON: see launch/venv.sh. The speech of the tests is a package of Debian and Ubuntu,
# which launch/prompts.sh fetches. UNIWAV_SPEECH: a folder of LibriSpeech with alignments,
# UNIWAV_LYRA: one with Lyra's files; the few tests that want them say so when they run without.
# UNIWAV_ORACLES=0 leaves out torch and the implementations on it against which numbers are compared
# (torch is large).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/venv.sh
source launch/venv.sh dev

if [ "${UNIWAV_ORACLES:-1}" != 0 ]; then
  python -m pip install --quiet --disable-pip-version-check -r tests/requirements-oracles.txt
  # These ask for more than they need; see requirements-oracles.txt.
  python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python \
    spidr==0.2.0 encodec==0.1.1 pyctcdecode==0.5.0
fi
ruff check .
ruff format --check .
for script in launch/*.sh launch/*.sbatch tests/run.sh; do bash -n "$script"; done
# A worker for each of two cores; each file stays with one, for what its tests share. The order of
# the files is that of tests/conftest.py.
exec python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder "$@"
