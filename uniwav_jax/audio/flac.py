"""FLAC by dr_flac, which gives the same samples as libsndfile in less time."""

import numpy as np

try:
    from miniaudio import ffi, lib  # dr_flac; its public functions copy twice
except ImportError:  # no wheel for this machine, see setup.py
    lib = None


def decode(data: bytes, *, sample_rate: int, longest: int) -> np.ndarray | None:
    """Decode all of a mono 16-bit FLAC.

    dr_flac leaves out damaged blocks without an error, so damage shows only in the number of
    samples. That is why this function decodes whole files and cannot seek.

    Args:
        data: content of the file.
        sample_rate: rate in Hz that the file must have.
        longest: largest number of samples.

    Returns:
        int16 [n], or None where libsndfile must read the file: another kind of FLAC, another rate,
        more than `longest` samples, or damage.
    """
    flac = lib.ma_dr_flac_open_memory(data, len(data), ffi.NULL) if lib else None
    if not flac:
        return None
    try:
        count = flac.totalPCMFrameCount
        if (flac.channels, flac.bitsPerSample, flac.sampleRate) != (1, 16, sample_rate):
            return None
        if not 0 < count <= longest:
            return None
        audio = np.empty(count, np.int16)
        target = ffi.from_buffer("ma_dr_flac_int16[]", audio, require_writable=True)
        read = lib.ma_dr_flac_read_pcm_frames_s16(flac, count, target)
        return audio if read == count else None
    finally:
        lib.ma_dr_flac_close(flac)
