#!/usr/bin/env bash
# soundfile 0.14.0 (libsndfile 1.2.2) against FFmpeg in PyAV 18.1.0, on a valid Opus file.
#
# An Opus file says how many samples come before its beginning (the pre-skip, RFC 7845, section
# 4.2). Read from the start, a file of FFmpeg's encoder begins with those samples in libsndfile, and
# as many are missing at its end. After a seek to sample 0 all samples are right. soundfile.read and
# soundfile.blocks seek or not, depending on their arguments. Files that libsndfile wrote itself are
# read right in both ways.
#
# Output seen (samples; by how many each way of reading is late; largest difference to FFmpeg):
#   without a seek 96000 312 0.549905
#   after a seek 96000 0 0.000000
#
# The exit status is 1 if one of them is no longer true.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.2.6 soundfile==0.14.0 av==18.1.0
cat > "$folder/check.py" <<'PYTHON'
import sys

import av
import numpy as np
import soundfile

path = f"{sys.argv[1]}/x.opus"
time = np.arange(96000) / 48000
tone = (9000 * np.sin(2 * np.pi * (300 + 100 * time) * time)).astype(np.int16)
with av.open(path, "w", format="ogg") as file:
    stream = file.add_stream("libopus", rate=48000, layout="mono")
    frame = av.AudioFrame.from_ndarray(tone[None], "s16", "mono")
    frame.sample_rate = 48000
    for packet in (*stream.encode(frame), *stream.encode(None)):
        file.mux(packet)
with av.open(path) as file:
    wanted = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])


class WithoutSeek(soundfile.SoundFile):
    """soundfile seeks in a file that can seek."""

    def seekable(self):
        return False


def late(audio):
    """By how many samples the audio is late."""
    errors = [np.abs(audio[k : k + 40000] - wanted[:40000]).max() for k in range(1000)]
    return int(np.argmin(errors))


found = {}
for name, seek in (("without a seek", False), ("after a seek", True)):
    with WithoutSeek(path) as file:
        if seek:
            file.seek(0)
        audio = file.read(10**6, dtype="float32")
    found[name] = late(audio), np.abs(audio - wanted).max()
    print(name, len(audio), found[name][0], f"{found[name][1]:.6f}")
assert found["without a seek"][0] == 312 and found["without a seek"][1] > 0.1
assert found["after a seek"][0] == 0 and found["after a seek"][1] < 1e-3
PYTHON
"$folder/venv/bin/python" "$folder/check.py" "$folder"
