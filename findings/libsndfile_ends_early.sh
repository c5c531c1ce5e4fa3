#!/usr/bin/env bash
# soundfile 0.14.0 (libsndfile 1.2.2) against FFmpeg in PyAV 18.1.0, on valid files.
#
# 1. Two Ogg files joined by `cat` are a valid, chained Ogg file (RFC 3533). libsndfile gives the
#    number of samples of the first part, and reads only that part, without an error. This holds for
#    Vorbis and for Opus.
# 2. The length of an MP3 without a Xing header is estimated from its first frames. With a variable
#    bit rate the estimate is wrong: noise before silence is read to an end that comes too early,
#    without an error.
#
# Output seen (samples of libsndfile, of FFmpeg):
#   chained vorbis 48000 96256
#   chained opus 48000 96000
#   variable mp3 88290 417600
#
# The exit status is 1 if one of them is no longer true.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.2.6 soundfile==0.14.0 av==18.1.0
cat > "$folder/check.py" <<'PYTHON'
import pathlib
import sys

import av
import numpy as np
import soundfile

folder = pathlib.Path(sys.argv[1])
noise = (0.3 * np.random.default_rng(0).normal(size=48000)).clip(-1, 1)


def ffmpeg(path):
    """Samples per channel at the rate that libsndfile reports."""
    with av.open(str(path)) as file:
        frames = list(file.decode(audio=0))
    rate = soundfile.info(path).samplerate
    return round(sum(frame.samples for frame in frames) * rate / frames[0].sample_rate)


def libsndfile(path):
    audio, _ = soundfile.read(path)
    return len(audio)


found = {}
for name, subtype in (("vorbis", "VORBIS"), ("opus", "OPUS")):
    soundfile.write(folder / f"{name}.ogg", noise, 16000, format="OGG", subtype=subtype)
    part = (folder / f"{name}.ogg").read_bytes()
    (folder / f"chained {name}.ogg").write_bytes(2 * part)
    found[f"chained {name}"] = folder / f"chained {name}.ogg"
with av.open(str(folder / "variable.mp3"), "w", format="mp3", options={"write_xing": "0"}) as file:
    variable = {"global_quality": "472", "flags": "+qscale"}
    stream = file.add_stream("libmp3lame", rate=16000, layout="mono", options=variable)
    sound = np.concatenate([noise, np.zeros(320000), noise])
    frame = av.AudioFrame.from_ndarray((32767 * sound).astype(np.int16)[None], "s16", "mono")
    frame.sample_rate = 16000
    for packet in (*stream.encode(frame), *stream.encode(None)):
        file.mux(packet)
found["variable mp3"] = folder / "variable.mp3"

counts = {}
for name, path in found.items():
    counts[name] = libsndfile(path), ffmpeg(path)
    print(name, *counts[name])
for name in ("chained vorbis", "chained opus"):
    assert 1.9 < counts[name][1] / counts[name][0] < 2.1, name
assert counts["variable mp3"][0] < 0.9 * counts["variable mp3"][1]
PYTHON
"$folder/venv/bin/python" "$folder/check.py" "$folder"
