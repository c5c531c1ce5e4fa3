"""Reading, transforming and writing waveforms."""

# Files that are taken from a folder. Their content, not the suffix, says how they are decoded.
SUFFIXES = tuple(
    ".wav .flac .ogg .oga .opus .spx .mp3 .mp2 .m4a .m4b .mp4 .m4v .3gp .aac .ac3 .mov .mkv .mka"
    " .webm .weba .avi .mpg .mpeg .wma .amr .g722 .aif .aiff .aifc .au .snd .caf .sph .w64"
    " .rf64 .wv .ape .tta".split()
)
