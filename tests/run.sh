#!/usr/bin/env bash
# Runs all checks that a change must pass: it creates the environment, checks the style, and runs
# the test suite.
#
#   bash tests/run.sh [PYTEST ARGUMENTS]
#
# UNIWAV_VENV, PYTHON: see launch/venv.sh. The speech for the tests is a package of Debian and
# Ubuntu, which launch/prompts.sh downloads. A few tests need a folder of LibriSpeech with
# alignments (UNIWAV_SPEECH) or one with Lyra's files (UNIWAV_LYRA), and are skipped without them.
# UNIWAV_ORACLES=0 omits torch, which is large, and the implementations in torch with which our
# results are compared.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/venv.sh
source launch/venv.sh dev

if [ "${UNIWAV_ORACLES:-1}" != 0 ]; then
  python -m pip install --quiet --disable-pip-version-check -r tests/requirements-oracles.txt
  # These packages require more than they need; see requirements-oracles.txt.
  python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python \
    spidr==0.2.0 encodec==0.1.1 pyctcdecode==0.5.0
fi
ruff check .
ruff format --check .
for script in launch/*.sh launch/*.sbatch tests/run.sh; do bash -n "$script"; done
# There is a worker for each of two cores. All tests of a file run in one worker, because they share
# fixtures. The order of files is set in tests/conftest.py.
exec python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder "$@"
