"""Reading, transforming and writing waveforms."""

# Files that are taken from a folder. Their content, not the suffix, says how they are decoded.
SUFFIXES = tuple(
    ".wav .flac .ogg .oga .opus .mp3 .m4a .mp4 .aac .mov .mkv .webm .wma .amr .g722 .aif .aiff .au"
    " .caf .sph .w64 .wv".split()
)
