#!/usr/bin/env bash
# In speechmos 0.0.1.1, DNSMOS ignores up to two seconds at the end of clips longer than 9.01 s.
#
# `dnsmos.run` moves a window of 9.01 s by whole seconds. The number of windows is
# int(floor(seconds) - 9.01) + 1: the seconds are rounded down before 9.01 is subtracted, and the
# last window is not moved to the end. A clip of 10.5 s has one window (1.49 s are not scored), and a
# clip of 11.9 s has two (1.89 s are not scored). If such an end is replaced by noise at full scale,
# the score stays the same to the last digit, although the last 9.01 s alone get a lower score.
#
# Results with Python 3.11, onnxruntime 1.23.2 and librosa 0.11.0, on synthetic voiced sound:
#   10.5 s: whole 2.2520, noise in its last 1.45 s 2.2520; last 9.01 s alone 2.2500, with noise 1.5845
#   11.9 s: whole 2.2995, noise in its last 1.85 s 2.2995; last 9.01 s alone 2.1196, with noise 1.4856
#
# The exit status is 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.2.6 scipy==1.17.1 librosa==0.11.0 \
  onnxruntime==1.23.2 speechmos==0.0.1.1
cat > "$folder/check.py" <<'PYTHON'
import sys

import numpy as np
from scipy.signal import lfilter
from speechmos import dnsmos

RATE = 16000
WINDOW = int(9.01 * RATE)


def syllables(seconds):
    """Voiced sound, float32 [samples]: pulses of 100 to 140 Hz through three resonances.

    The resonances change with each syllable.
    """
    random = np.random.default_rng(0)
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time)
    pulses = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0.0)
    source = lfilter([1.0], [1.0, -0.98], pulses)
    parts = []
    for part in np.split(source, range(3520, len(source), 3520)):
        for low, high, width in ((300, 800, 80), (900, 2300, 100), (2400, 3000, 120)):
            radius = np.exp(-np.pi * width / RATE)
            angle = 2 * np.pi * random.uniform(low, high) / RATE
            part = lfilter([1 - radius], [1.0, -2 * radius * np.cos(angle), radius**2], part)
        part = part * np.hanning(len(part))
        parts.append(0.3 * part / (np.abs(part).max() + 1e-9))
    return np.concatenate(parts).astype(np.float32)


def score(audio):
    return float(dnsmos.run(audio, sr=RATE)["ovrl_mos"])


unchanged = True
for seconds, tail in ((10.5, 1.45), (11.9, 1.85)):
    whole = syllables(seconds)
    noisy = whole.copy()
    samples = int(tail * RATE)
    noisy[-samples:] = np.random.default_rng(1).uniform(-1.0, 1.0, samples)
    pair = score(whole), score(noisy)
    ends = score(whole[-WINDOW:]), score(noisy[-WINDOW:])
    print(f"{seconds} s: whole {pair[0]:.4f}, noise in its last {tail} s {pair[1]:.4f}; ", end="")
    print(f"last 9.01 s alone {ends[0]:.4f}, with noise {ends[1]:.4f}")
    unchanged &= pair[0] == pair[1] and ends[1] < ends[0] - 0.2
print("as described" if unchanged else "CHANGED")
sys.exit(0 if unchanged else 1)
PYTHON
"$folder/venv/bin/python" "$folder/check.py"
