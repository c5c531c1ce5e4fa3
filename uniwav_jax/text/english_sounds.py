"""Tables of English pronunciation in ARPAbet with stress: letters, contractions, and heteronyms."""

LETTERS = {
    "a": "EY1",
    "b": "B IY1",
    "c": "S IY1",
    "d": "D IY1",
    "e": "IY1",
    "f": "EH1 F",
    "g": "JH IY1",
    "h": "EY1 CH",
    "i": "AY1",
    "j": "JH EY1",
    "k": "K EY1",
    "l": "EH1 L",
    "m": "EH1 M",
    "n": "EH1 N",
    "o": "OW1",
    "p": "P IY1",
    "q": "K Y UW1",
    "r": "AA1 R",
    "s": "EH1 S",
    "t": "T IY1",
    "u": "Y UW1",
    "v": "V IY1",
    "w": "D AH1 B AH0 L Y UW0",
    "x": "EH1 K S",
    "y": "W AY1",
    "z": "Z IY1",
}
VOICELESS = frozenset("P T K F TH S SH CH HH".split())
SIBILANTS = frozenset("S Z SH ZH CH JH".split())
# Endings of contractions. Those of -s, -ed and -ing are in pronounce.py.
CONTRACTIONS = {"'ll": "AH0 L", "'d": "D", "'ve": "AH0 V", "'re": "ER0"}
_VERB = "to will would can could must should may might shall not don't i you we they let's please"
AFTER_TO = frozenset(_VERB.split())
AFTER_HAVE = frozenset(
    "have has had having i've you've we've they've he'd she'd was were been be being is are never"
    " just already".split()
)
# Word: its usual phones; its phones after one of some words, or before one of some others.
HETERONYMS: dict[str, tuple[str, str, frozenset[str], frozenset[str]]] = {
    "read": ("R IY1 D", "R EH1 D", AFTER_HAVE, frozenset()),
    "lead": ("L IY1 D", "L EH1 D", frozenset(), frozenset("pipe pipes paint poisoning".split())),
    "live": ("L IH1 V", "L AY1 V", frozenset("a is are".split()), frozenset("music show".split())),
    "wind": ("W IH1 N D", "W AY1 N D", AFTER_TO, frozenset("up down".split())),
    "tear": ("T IH1 R", "T EH1 R", AFTER_TO, frozenset("up down apart".split())),
    "tears": ("T IH1 R Z", "T EH1 R Z", frozenset(), frozenset("up down apart".split())),
    "close": ("K L OW1 S", "K L OW1 Z", AFTER_TO, frozenset("the your my his her".split())),
    "use": ("Y UW1 Z", "Y UW1 S", frozenset("the a no of in any".split()), frozenset(["of"])),
    "bow": ("B OW1", "B AW1", AFTER_TO, frozenset(["down"])),
    "bass": ("B EY1 S", "B AE1 S", frozenset(), frozenset("fishing boat".split())),
    "dove": ("D AH1 V", "D OW1 V", frozenset("he she i we they".split()), frozenset(["into"])),
    "wound": ("W UW1 N D", "W AW1 N D", AFTER_HAVE, frozenset("up down around".split())),
    "minute": ("M IH1 N AH0 T", "M AY0 N UW1 T", frozenset(["very"]), frozenset()),
    "estimate": ("EH1 S T AH0 M AH0 T", "EH1 S T AH0 M EY2 T", AFTER_TO, frozenset()),
    "separate": ("S EH1 P R AH0 T", "S EH1 P ER0 EY2 T", AFTER_TO, frozenset()),
    "house": ("HH AW1 S", "HH AW1 Z", AFTER_TO, frozenset()),
    "excuse": ("IH0 K S K Y UW1 S", "IH0 K S K Y UW1 Z", AFTER_TO, frozenset(["me"])),
    "record": ("R EH1 K ER0 D", "R AH0 K AO1 R D", AFTER_TO, frozenset()),
    "present": ("P R EH1 Z AH0 N T", "P R IY0 Z EH1 N T", AFTER_TO, frozenset()),
    "object": ("AA1 B JH EH0 K T", "AH0 B JH EH1 K T", AFTER_TO, frozenset()),
    "project": ("P R AA1 JH EH0 K T", "P R AH0 JH EH1 K T", AFTER_TO, frozenset()),
    "produce": ("P R AH0 D UW1 S", "P R OW1 D UW0 S", frozenset("fresh the".split()), frozenset()),
    "permit": ("P ER1 M IH2 T", "P ER0 M IH1 T", AFTER_TO, frozenset()),
    "conduct": ("K AA1 N D AH0 K T", "K AA0 N D AH1 K T", AFTER_TO, frozenset()),
    "contract": ("K AA1 N T R AE2 K T", "K AH0 N T R AE1 K T", AFTER_TO, frozenset()),
    "conflict": ("K AA1 N F L IH0 K T", "K AH0 N F L IH1 K T", AFTER_TO, frozenset()),
    "content": (
        "K AA1 N T EH0 N T",
        "K AH0 N T EH1 N T",
        frozenset("is was are".split()),
        frozenset(),
    ),
    "desert": ("D EH1 Z ER0 T", "D IH0 Z ER1 T", AFTER_TO, frozenset()),
    "increase": ("IH1 N K R IY2 S", "IH0 N K R IY1 S", AFTER_TO, frozenset()),
    "insult": ("IH1 N S AH2 L T", "IH2 N S AH1 L T", AFTER_TO, frozenset()),
    "protest": ("P R OW1 T EH2 S T", "P R AH0 T EH1 S T", AFTER_TO, frozenset()),
    "rebel": ("R EH1 B AH0 L", "R IH0 B EH1 L", AFTER_TO, frozenset()),
    "refuse": ("R AH0 F Y UW1 Z", "R EH1 F Y UW2 Z", frozenset(["the"]), frozenset()),
    "subject": ("S AH1 B JH IH0 K T", "S AH0 B JH EH1 K T", AFTER_TO, frozenset()),
    "perfect": ("P ER1 F IH2 K T", "P ER0 F EH1 K T", AFTER_TO, frozenset()),
}
