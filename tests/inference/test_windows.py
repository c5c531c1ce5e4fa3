"""Windows cover each frame once, with context, and do not depend on how the file is read."""

import numpy as np
import pytest

from uniwav_jax.inference import windows

HOP = 4


def cut(samples, *, block, window=20, overlap=3, context=(0, 0)):
    audio = np.arange(1, samples + 1, dtype=np.float32)
    blocks = [audio[i : i + block] for i in range(0, samples, block)]
    return list(windows.cut(blocks, hop=HOP, window=window, overlap=overlap, context=context))


@pytest.mark.parametrize("samples", [1, 79, 80, 81, 83, 200, 203, 56 * HOP, 57 * HOP + 1])
@pytest.mark.parametrize("context", [(0, 0), (5, 0), (6, 7)])
def test_every_frame_is_covered_once(samples, context):
    found = cut(samples, block=17, context=context)
    frames = [w.first + f for w in found for f in range(*w.keep)]
    assert frames == list(range(-(-samples // HOP)))
    assert [w.last for w in found] == [False] * (len(found) - 1) + [True]
    left, right = context
    for window in found:
        assert len(window.audio) == left + window.samples + right
        start = window.first * HOP - left  # sample i of the audio has the value i + 1
        places = np.arange(start, start + len(window.audio))
        inside = (places >= 0) & (places < samples)
        np.testing.assert_array_equal(window.audio, np.where(inside, places + 1, 0))
        if window is not found[0]:
            assert window.keep[0] == 3 and window.samples > 2 * 3 * HOP
        if not window.last:
            assert window.keep[1] == 20 - 3 and window.samples == 20 * HOP


def test_windows_do_not_depend_on_blocks():
    one, many = cut(1000, block=1000, context=(2, 3)), cut(1000, block=1, context=(2, 3))
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a.audio, b.audio)
        assert (a.first, a.keep, a.last) == (b.first, b.keep, b.last)


def test_empty_audio_has_no_windows():
    assert cut(0, block=1) == []
    with pytest.raises(ValueError, match="not longer than"):
        cut(10, block=1, window=6)
