"""Rules for words in written English: abbreviations, capitals, Roman numerals, addresses."""

import re
import unicodedata
from collections.abc import Callable

from uniwav_jax.errors import UserError
from uniwav_jax.text import english_tables as tables
from uniwav_jax.text.number_words import cardinal, digits, ordinal
from uniwav_jax.text.rewriting import (
    MARKS,
    Rule,
    after,
    around,
    before,
    character_name,
    ends_sentence,
)

Match = re.Match[str]
IsWord = Callable[[str], bool]
LETTER = r"[^\W\d_²³]"
# Letters that do not decompose into a Latin letter and an accent.
LATIN = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "th", "þ": "th", "ı": "i"}
)
VOWELS = frozenset("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())
CONSONANTS = frozenset("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split())
ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
ROMAN_FORM = re.compile(r"M{0,3}(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})")


def is_phone(token: str) -> bool:
    """Whether a token is a phone of ARPAbet; a vowel may have a stress digit."""
    vowel = token[:-1] if token[-1:] in ("0", "1", "2") else token
    return token in CONSONANTS or vowel in VOWELS


def phones(match: Match, _: IsWord) -> str | None:
    """[HH AH0 L OW1] is kept; brackets around something else are not phones.

    Raises:
        UserError: some of the tokens are phones with stress, or several are phones, and others
            are not.
    """
    tokens = match[1].split()
    wrong = [token for token in tokens if not is_phone(token)]
    if not wrong:
        return f"[{' '.join(tokens)}]"
    right = [token for token in tokens if is_phone(token)]
    meant = len(right) > 1 or any(token[-1].isdigit() for token in right)
    if meant and all(re.fullmatch(r"[A-Z]{1,4}\d?", token) for token in tokens):
        raise UserError(f"{match[0]}: {', '.join(wrong)} is no phone of ARPAbet (AA1, B, ... ZH)")
    return None


def table(words: dict[str, str]) -> Callable[[Match, IsWord], str]:
    """A rule that looks the match up, in its own case or in lower case."""
    return lambda match, _: words.get(match[0]) or words[match[0].lower()]


def slashed(match: Match, _: IsWord) -> str | None:
    """w/o, and/or, 24/7."""
    return tables.SLASHED.get(match[0].lower())


def address(match: Match, is_word: IsWord) -> str:
    """An e-mail address or URL: words, letters, and the names of the symbols between them."""
    text = re.sub(r"^[a-zA-Z]+://", "", match[0]).rstrip(".,;:!?)'\"/")
    names = {".": "dot", "@": "at", "-": "dash", "_": "underscore", "~": "tilde", "%": "percent"}
    symbols = tables.SYMBOLS | names | {":": "colon", "?": "question mark"}
    spoken = []
    for part in re.findall(r"[^\W\d_]+|\d+|.", text, re.DOTALL):
        if part.isdecimal():
            spoken.append(cardinal(part) if len(part) < 3 else digits(part))
        elif not part.isalpha():
            spoken.append(symbols.get(part, ""))
        elif is_word(plain_letters(part)) or (len(part) > 3 and part != "https"):
            spoken.append(plain_letters(part))
        else:
            spoken.append(spelled(part))
    end = re.search(r"[.,;:!?]*[)'\"/]*[.,;:!?]*$", match[0])[0]
    return " ".join(filter(None, spoken)) + "".join(mark for mark in end if mark in MARKS)


def title(match: Match, _: IsWord) -> str | None:
    """Mr. Smith, St. Louis; not the street of "Main St. Louis said"."""
    word, previous = match[1].lower(), before(match)
    if not match[0].endswith("."):
        proper = match[1][0].isupper() and after(match)[:1].isupper()
        if word not in ("mr", "mrs", "dr") and not (proper and word in ("ms", "prof", "st")):
            return None
    street = word in tables.STREETS and re.match(r"[A-Z]\w*$|\d+(st|nd|rd|th)$", previous)
    if street and previous.lower() not in tables.STARTERS | set(tables.TITLES):
        return None
    return tables.TITLES[word]


def street(match: Match, _: IsWord) -> str | None:
    """Main St., 42nd St, Elm Dr."""
    if not re.match(r"[A-Z]\w*$|\d+(st|nd|rd|th)$", before(match)):
        return None
    ends = match[0].endswith(".") and ends_sentence(match, names_follow=False)
    return tables.STREETS[match[1].lower()] + ("." if ends else "")


def abbreviation(match: Match, _: IsWord) -> str | None:
    """etc., Inc., e.g., with a period that may end the sentence too."""
    word = match[1].lower()
    if word == "al" and before(match).lower() != "et":
        return None
    names = word not in ("etc", "e.g", "i.e", "al")
    return tables.ABBREVIATIONS[word] + ("." if ends_sentence(match, names_follow=names) else "")


def before_number(match: Match, _: IsWord) -> str | None:
    """No. 5, pp. 3-4, Fig. 2; some also without a period."""
    if match[2] != "." and match[1].lower() not in ("vol", "fig", "figs", "pp", "apt", "ext"):
        return None
    return tables.BEFORE_NUMBERS[match[1].lower()]


def calendar(match: Match, _: IsWord) -> str:
    """Jan., Mon."""
    word = match[0].rstrip(".").lower()
    end = "." if ends_sentence(match) else ""
    return (tables.SHORT_MONTHS.get(word) or tables.DAYS[word]) + end


def versus(match: Match, _: IsWord) -> str:
    """Roe v. Wade."""
    return "versus"


def initials(match: Match, _: IsWord) -> str:
    """U.S.A., J. R. R. Tolkien, p.m.; the last period may end the sentence."""
    if match[1]:
        return spelled(match[0][:-2].replace(".", "")) + "'s"
    letters = re.findall(LETTER, match[0])
    return spelled("".join(letters)) + ("." if ends_sentence(match) else "")


def initial(match: Match, _: IsWord) -> str | None:
    """The F. of "John F. Kennedy": after the start, a title, an initial or another name."""
    if after(match).islower():
        return match[1]
    previous = before(match)
    named = not previous or previous[0].isupper() or previous[-1] in ".!?"
    return None if not named or (match[1] == "I" and not previous[:1].isupper()) else match[1]


def spelled(word: str) -> str:
    """Letters of a word, in capitals and separated by spaces."""
    return " ".join(plain_letters(word).upper())


def plain_letters(word: str) -> str:
    """Lower case without accents; "" if there are letters other than Latin ones."""
    word = unicodedata.normalize("NFD", word.lower().translate(LATIN))
    word = "".join(letter for letter in word if not unicodedata.combining(letter))
    return word if re.fullmatch(r"[a-z']*", word) else ""


def roman_value(word: str) -> int:
    """The value of a Roman numeral; 0 if it is none."""
    if not word or not ROMAN_FORM.fullmatch(word):
        return 0
    values = [ROMAN[letter] for letter in word]
    return sum(-v if v < later else v for v, later in zip(values, [*values[1:], 0]))


def roman(match: Match, _: IsWord) -> str | None:
    """Henry VIII, Chapter IV, Rocky II."""
    value, previous = roman_value(match[0]), before(match)
    if not value or not previous[:1].isalpha():
        return None
    if previous.lower().rstrip(".") in tables.NUMBERED:
        return cardinal(str(value))
    name = previous[0].isupper() and previous.isalpha()
    if previous.lower() in tables.RULERS and name and value < 40:
        certain = len(match[0]) > 1 or re.match(
            r"\s*([.,;:!?)]|$|of\b|was\b)", match.string[match.end() :]
        )
        return f"the {ordinal(str(value))}" if certain else None
    small = re.fullmatch("I{2,3}|IV|VI{1,3}|IX|XI{1,3}|XIV|XVI{0,3}|XIX", match[0])
    return cardinal(str(value)) if name and not previous.isupper() and small else None


def capitals(match: Match, is_word: IsWord) -> str | None:
    """NASA is a word and FBI is spelled; whole sentences in capitals are words."""
    word, end = match[1], match[2] or ""
    lower = plain_letters(word)
    if not lower:
        return None
    sentence = around(match)
    shouted = sentence.isupper() and re.search(r"[A-Z]{2}\W+[A-Z]", sentence)
    beside = [re.sub(r"\W", "", other) for other in (before(match), after(match))]
    shouted = shouted or any(
        len(o) > 1 and o.isupper() and o not in tables.SPELLED and is_word(o.lower())
        for o in beside
    )
    known = word in tables.READ_AS_WORDS or (
        is_word(lower) and (shouted or word not in tables.SPELLED)
    )
    long = (len(word) > 4 or shouted) and re.search("[AEIOUY]", word) and word not in tables.SPELLED
    if known or long:
        return lower + ("'s" if end else "")
    return spelled(word) + (f"'{end[-1]}" if end else "")


def single_letter(match: Match, _: IsWord) -> str | None:
    """A letter by itself: "plan B", "x = 5"; "a" and "I" are words where a sentence has them."""
    letter = match[0]
    if letter == "a":
        return "a" if not re.match(r"\d", match.string[match.end() :]) else "A"
    if letter == "A":
        previous = before(match)
        begins = not previous or previous[-1] in '.!?:—"' or around(match).isupper()
        return "a" if begins and re.match(r"\s+\w", match.string[match.end() :]) else "A"
    if letter in "Ii":
        return "i"
    return spelled(letter) or None


def word(match: Match, is_word: IsWord) -> str | None:
    """A word in lower case without accents; CamelCase is split unless the dictionary has it."""
    written = match[0].replace("’", "'")
    plain = plain_letters(written)
    if not plain:
        return None
    if not is_word(plain) and not set(plain) & set("aeiouy'"):
        return spelled(plain)
    if not is_word(plain) and not re.match("Mc|Mac|De|La|Le|O'", written):
        parts = re.sub(r"([a-z])([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3 \2\4", written).split()
        if len(parts) > 1:
            return " ".join(
                spelled(p)
                if len(p) == 1 or (p.isupper() and not is_word(p.lower()))
                else plain_letters(p)
                for p in parts
            )
    return plain


def greek(match: Match, _: IsWord) -> str | None:
    """The name of a Greek letter by itself."""
    name = re.match(r"greek (?:small|capital) letter (?:final )?(\w+)", character_name(match[0]))
    return name[1].replace("lamda", "lambda") if name else None


def foreign(match: Match, _: IsWord) -> str:
    """Letters that are not Latin have no English pronunciation."""
    return ""


def silent(match: Match, _: IsWord) -> str:
    """Hyphens within words, quotation marks, brackets of formatting."""
    return ""


def mark(match: Match, _: IsWord) -> str:
    """Punctuation as one of the marks."""
    text = match[0]
    if re.fullmatch(r"\.{2,}", text):
        return "…"
    if text in "()[]{}":
        return ","
    return {"。": ".", "、": ",", "،": ",", "؟": "?", "।": "."}.get(
        text, text if text in MARKS else "—"
    )


def any_of(keys: dict[str, str]) -> str:
    """A pattern for the keys of a table, longest first."""
    return "|".join(sorted(map(re.escape, keys), key=len, reverse=True))


def _rule(reason: str, pattern: str, speak: Callable, flags: int = 0) -> Rule:
    return Rule(reason, re.compile(pattern, flags), speak)


# These come before the rules for numbers.
FIRST_RULES = (
    _rule("phones", r"(?<!\w)\[([^\[\]]+)\](?!\w)", phones),
    _rule("e-mail address", r"[\w.+%-]+@\w[\w-]*(?:\.\w[\w-]*)+", address),
    _rule("web address", r"(?:https?://|ftp://|www\.)[^\s<>\"]+", address, re.IGNORECASE),
    _rule(
        "web address",
        r"(?:[a-zA-Z][\w-]*\.)+(?:com|org|net|edu|gov|io|co\.uk|de|fr|jp)\b(?:/[^\s<>\"]*)?",
        address,
    ),
    _rule("name with symbols", rf"(?:{any_of(tables.NAMES)})(?![\w+#])", table(tables.NAMES)),
    _rule("abbreviation", rf"(?:{any_of(tables.SLASHED)})(?!\d|/)", slashed, re.IGNORECASE),
    _rule("elision", rf"(?:{any_of(tables.ELIDED)})(?!\w)", table(tables.ELIDED), re.IGNORECASE),
    _rule("dash", r"-{2,}|(?<=\s)[-–](?=\s(?!\d))|[—―]", mark),
)
RULES = (
    _rule("number sign", r"#(?=\d)", lambda match, _: "number"),
    _rule("hashtag", r"#(?=[^\W\d_])", lambda match, _: "hashtag"),
    _rule("about", r"~(?=[$£€]?\d)", lambda match, _: "about"),
    _rule("times", r"(?<=\d)\s?\*\s?(?=\d)", lambda match, _: "times"),
    _rule(
        "street",
        rf"({any_of(tables.STREETS)})\b\.?(?=\s*(?:[^\w\s]|$|[a-z])|\s+[A-Z]\w*\.?\s*$)",
        street,
        re.IGNORECASE,
    ),
    _rule("title", rf"((?i:{any_of(tables.TITLES)}))\b\.?(?=\s+[\"']?[^\W\d_])", title),
    _rule(
        "abbreviation",
        rf"({any_of(tables.BEFORE_NUMBERS)})(\.|\s)\s?(?=\d)",
        before_number,
        re.IGNORECASE,
    ),
    _rule(
        "abbreviation", rf"({any_of(tables.ABBREVIATIONS)})\.(?!\w)", abbreviation, re.IGNORECASE
    ),
    _rule("initials", rf"(?:{LETTER}\.){{2,}}('s\b)?|(?:[A-Z]\.\s)+(?=[A-Z]\.\s?[A-Z])", initials),
    _rule("month", r"(Jan|Feb|Apr|Aug|Sept?|Oct|Nov|Dec)\.", calendar),
    _rule("day", r"(Mon|Tues?|Wed|Thu(?:rs?)?|Fri)\.|(Sat|Sun)\.(?=,|\s+\d)", calendar),
    _rule("versus", r"vs?\.(?=\s+[A-Z])|vs\b", versus),
    _rule("initial", r"(?<!\w)([A-Z])\.(?=\s+[A-Za-z])", initial),
    _rule("Roman numeral", r"[IVXLCDM]+(?![\w'])", roman),
    _rule("capitals", rf"([A-Z]{{2,}})('?s)?(?!{LETTER}|'{LETTER})", capitals),
    _rule("letter", rf"{LETTER}(?!{LETTER}|'{LETTER})", single_letter),
    _rule("word", rf"{LETTER}+(?:'{LETTER}+)*", word),
    _rule("Greek letter", r"[\u0370-\u03ff](?!\w)", greek),
    _rule("unknown script", rf"{LETTER}+", foreign),
    _rule("dot", r"(?<=\w)\.(?=[a-z])", lambda match, _: "dot"),
    _rule("hyphen", r"(?<=\w)[-‐‑–](?=\w)", silent),
    _rule("punctuation", r"\.{2,}|[,.;:?!…()\[\]{}。、،؟।–]", mark),
    _rule("symbol", rf"[{re.escape(''.join(tables.SYMBOLS))}]", table(tables.SYMBOLS)),
    _rule("quotation mark or apostrophe", r"['\"«»‹›]", silent),
    _rule("formatting", r"[*_`|~-]", silent),
)
