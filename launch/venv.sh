#!/usr/bin/env bash
# Creates the virtual environment, installs uniwav_jax into it once, and activates it.
#
#   source launch/venv.sh [EXTRAS]     EXTRAS as in pip: align, dev, "tpu,gcs"; cpu: none
#   bash launch/venv.sh [EXTRAS]       the same, without activating it
#
# UNIWAV_VENV   folder of the environment (default: .venv in the repository)
# PYTHON        the interpreter for it (default: python3.12, 3.13, 3.11 or python3)
# A script that sources this file must give EXTRAS, even if empty; otherwise its own $1 is used.

_uniwav_usable() { # whether a Python is new enough and can create an environment with pip
  "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

_uniwav_make_venv() { # VENV
  local candidate uv found="" candidates=(python3.12 python3.13 python3.11 python3)
  [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
  for candidate in "${candidates[@]}"; do
    if _uniwav_usable "$candidate"; then
      echo "making $1 with $(command -v "$candidate")"
      "$candidate" -m venv --clear "$1"
      return
    fi
    if command -v "$candidate" >/dev/null; then
      found="$found $candidate ($("$candidate" -c 'import platform
print(platform.python_version())' 2>/dev/null))"
    fi
  done
  if [ -n "${PYTHON:-}" ]; then
    echo "error: PYTHON=$PYTHON is not a Python >= 3.11 that can create environments;" \
      "set another one or unset it" >&2
    return 2
  fi
  uv="$(command -v uv || command -v "$HOME/.local/bin/uv")"
  if [ -n "$uv" ]; then
    echo "making $1 with $uv, which brings its own Python 3.12"
    UV_VENV_CLEAR=1 "$uv" venv --quiet --seed --python 3.12 "$1"
    return
  fi
  echo "error: no Python >= 3.11 with the module venv (found:${found:- none}); install one:" \
    "'sudo apt-get install python3-venv' on Debian 12+ or Ubuntu 24.04+;" \
    "'sudo add-apt-repository ppa:deadsnakes/ppa && sudo apt-get install python3.12-venv' on" \
    "older Ubuntu; or without root 'curl -LsSf https://astral.sh/uv/install.sh | sh'; then run" \
    "this again" >&2
  return 2
}

_uniwav_venv() { # EXTRAS
  local extras="$1" repository venv stamp base
  [ "$extras" != cpu ] || extras=""
  repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)" || return
  venv="${UNIWAV_VENV:-$repository/.venv}"
  if ! "$venv/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
  then
    # Only our own folder is cleared without asking. It may be incomplete, or its Python removed.
    if [ -n "${UNIWAV_VENV:-}" ] && [ -n "$(ls -A "$venv" 2>/dev/null)" ]; then
      echo "error: UNIWAV_VENV=$venv is not empty and not an environment of Python >= 3.11 with" \
        "pip; delete it or choose another folder" >&2
      return 2
    fi
    _uniwav_make_venv "$venv" || return
  fi
  # The first line describes Python and setup.py. A line follows for each installed set of extras.
  stamp="$venv/uniwav-installed"
  base="$("$venv/bin/python" -c 'import platform; print(platform.python_version())')" || return
  base="Python $base, $repository, setup.py $(sha256sum <"$repository/setup.py")"
  if [ "$(head -n 1 "$stamp" 2>/dev/null)" != "$base" ]; then
    rm -f "$stamp"
  fi
  if ! grep -qxF "[$extras]" "$stamp" 2>/dev/null; then
    echo "installing uniwav_jax[$extras] into $venv (minutes the first time)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
      -e "$repository${extras:+[$extras]}" || {
      echo "error: installing uniwav_jax[$extras] failed; pip's message is above" >&2
      return 1
    }
    [ -f "$stamp" ] || echo "$base" >"$stamp"
    echo "[$extras]" >>"$stamp"
  fi
  # shellcheck source=/dev/null
  source "$venv/bin/activate"
}

_uniwav_venv "${1:-}" || {
  _uniwav_status=$?
  # shellcheck disable=SC2317  # a sourced script returns, an executed one exits
  return "$_uniwav_status" 2>/dev/null || exit "$_uniwav_status"
}
