#!/usr/bin/env bash
# praatio 6.2.2: a TextGrid in the long format whose times are in scientific notation (1e-05, as
# Praat and Python write small numbers) raises an error; the same times in the short format are read.
#
# Output seen:
#   long ParsingError Expected field in Textgrid missing.
#   short [(1e-05, 0.5, 'one')]
#
# The exit status is 1 if this is no longer true.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet praatio==6.2.2
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import pathlib
import sys

from praatio import textgrid

HEAD = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
LONG = """xmin = 0
xmax = 1
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1
        intervals: size = 1
        intervals [1]:
            xmin = 1e-05
            xmax = 0.5
            text = "one"
"""
SHORT = '0\n1\n<exists>\n1\n"IntervalTier"\n"words"\n0\n1\n1\n1e-05\n0.5\n"one"\n'
folder = pathlib.Path(sys.argv[1])


def read(name, content):
    (folder / name).write_text(HEAD + content)
    grid = textgrid.openTextgrid(str(folder / name), includeEmptyIntervals=False)
    return [(entry.start, entry.end, entry.label) for entry in grid.getTier("words").entries]


try:
    found = read("long.TextGrid", LONG)
    print("long", found)
    wrong = found != [(1e-05, 0.5, "one")]
except Exception as error:
    print("long", type(error).__name__, error)
    wrong = True
short = read("short.TextGrid", SHORT)
print("short", short)
assert wrong and short == [(1e-05, 0.5, "one")]
PYTHON
