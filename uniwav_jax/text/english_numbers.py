"""Rules for numbers in written English: money, dates, times, units, fractions, phone numbers."""

import re
from collections.abc import Callable

from uniwav_jax.text import english_tables as tables
from uniwav_jax.text.number_words import (
    cardinal,
    decimal,
    digits,
    fraction,
    ordinal,
    plural,
    year,
)
from uniwav_jax.text.rewriting import Rule, after, before, ends_sentence

Match = re.Match[str]
NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
MINUS = r"(?:−|(?<![\w)])-)?"
# Capitalised only, because "may" and "march" are also other words.
MONTH = "|".join(f"{n.capitalize()}|{n.upper()}" for n in tables.MONTHS)
MONTH += "|" + "|".join(rf"{n.capitalize()}\b\.?" for n in tables.SHORT_MONTHS)
MARK_OF_DAY = r"(?:st|nd|rd|th)?"
UNIT = "|".join(sorted(map(re.escape, tables.UNITS), key=len, reverse=True))
CURRENCY = "|".join(sorted(map(re.escape, tables.CURRENCIES), key=len, reverse=True))
MAGNITUDE = r"(?:\s?(?:hundred|thousand|million|billion|trillion)|(?:[kKmMbBtT]|[mbt]n))\b"


def _signed(number: str) -> str:
    """Words of a number that may have a sign and commas."""
    minus = "minus " if number[0] in "-−" else ""
    return minus + decimal(number.lstrip("-−").replace(",", ""))


def _month(name: str) -> str:
    name = name.rstrip(".").lower()
    return tables.SHORT_MONTHS.get(name, name)


def _year(number: str) -> str:
    return year(number) if len(number) == 4 and number[0] in "12" else cardinal(number)


def _date(month: int, day: int, number: str) -> str | None:
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{tables.MONTHS[month - 1]} {ordinal(str(day))}, {_year(number)}"


def iso_date(match: Match, _: object) -> str | None:
    """2020-03-04 is "march fourth, twenty twenty"."""
    return _date(int(match[2]), int(match[3]), match[1])


def slashed_date(match: Match, _: object) -> str | None:
    """3/4/2020 is read in American order, and 25/12/2020 in the only possible one."""
    first, second, number = int(match[1]), int(match[2]), match[3]
    if len(number) == 2:
        number = ("20" if int(number) < 50 else "19") + number
    return _date(second, first, number) if first > 12 else _date(first, second, number)


def month_day(match: Match, _: object) -> str | None:
    """March 3, 1999 and Jan. 5th."""
    if not 1 <= int(match[2]) <= 31:
        return None
    end = f", {_year(match[3])}" if match[3] else ""
    return f"{_month(match[1])} {ordinal(match[2])}{end}"


def day_month(match: Match, _: object) -> str | None:
    """3 March 1999 is "the third of march nineteen ninety nine"."""
    if not 1 <= int(match[1]) <= 31:
        return None
    the = "" if before(match).lower() == "the" else "the "
    number = f" {_year(match[3])}" if match[3] else ""
    # The period of an abbreviated month belongs to the date, unless the sentence ends with it.
    end = "." if match[0].endswith(".") and ends_sentence(match, names_follow=False) else ""
    return f"{the}{ordinal(match[1])} of {_month(match[2])}{number}{end}"


def month_year(match: Match, _: object) -> str:
    """Sept. 2001."""
    return f"{_month(match[1])} {_year(match[2])}"


def decade(match: Match, _: object) -> str:
    """1990s, 90s, '90s."""
    number = match[1]
    if len(number) == 2:
        return plural(cardinal(number))
    return plural(cardinal(number) if number[1:3] == "00" else year(number))


def half_of_day(text: str) -> str:
    """The letters of a.m. or p.m."""
    return f"{text.strip()[0].upper()} M"


def _end(match: Match) -> str:
    """A period if the match ends with one and the sentence too."""
    name = after(match).lower()
    ends = match[0].endswith(".") and ends_sentence(match, names_follow=False)
    return "." if ends and name[:3] not in (*tables.SHORT_MONTHS, *tables.DAYS) else ""


def clock(match: Match, _: object) -> str:
    """3:45 p.m., 15:30, 6:00, 1:02:33; what is no time of day is a ratio: "sixteen to nine"."""
    hour, minute, second, half = match[1], match[2], match[3], match[4]
    if int(hour) > 24 or int(minute) > 59 or len(minute) != 2:
        return " to ".join(cardinal(str(int(n))) for n in (hour, minute, second) if n)
    words = [cardinal(str(int(hour)))]
    if second:
        words += [_two_digits(minute), _two_digits(second)]
    elif minute != "00":
        words.append(_two_digits(minute))
    elif not half:
        words.append("o'clock" if int(hour) < 13 else "hundred")
    return " ".join([*words, half_of_day(half)] if half else words) + (_end(match) if half else "")


def _two_digits(number: str) -> str:
    if number == "00":
        return "hundred"
    return ("oh " if number[0] == "0" else "") + cardinal(str(int(number)))


def hour(match: Match, _: object) -> str:
    """3 p.m."""
    return f"{cardinal(match[1])} {half_of_day(match[2])}{_end(match)}"


def money(match: Match, _: object) -> str | None:
    """$3.50, -£2, €1 million, $3.5M, USD 20."""
    sign, currency, number = match[1], match[2], match[3].replace(",", "")
    magnitude = (match[4] or "").strip()
    one, many, hundredth, hundredths = tables.CURRENCIES[currency]
    minus = "minus " if sign else ""
    if magnitude:
        magnitude = tables.MAGNITUDES[magnitude.lower()]
        many = one if after(match) in tables.PRICED else many
        return f"{minus}{decimal(number)} {magnitude} {many}"
    whole, _point, cents = number.partition(".")
    if len(cents) != 2:
        name = one if number == "1" or after(match) in tables.PRICED else many
        return f"{minus}{decimal(number)} {name}"
    parts = []
    if int(whole or 0) or not int(cents):
        single = whole == "1" or (after(match) in tables.PRICED and not int(cents))
        parts.append(f"{cardinal(whole or '0')} {one if single else many}")
    if int(cents):
        cents = cents.lstrip("0")
        parts.append(f"{cardinal(cents)} {hundredth if cents == '1' else hundredths}")
    return minus + " and ".join(parts)


def money_after(match: Match, is_word: Callable[[str], bool]) -> str | None:
    """5 €, 3.50 EUR: the currency after the number."""
    written = f"{match[2]}{match[1]}"
    found = MONEY.fullmatch(written)
    return money(found, is_word) if found else None


def unit(match: Match, _: object) -> str:
    """5 km, 3.2GHz, -20°C, 50%; "a 5-km run" has one kilometer in its name.

    A period after a unit in letters is its own, unless the sentence ends there.
    """
    one, many = tables.UNITS[match[3]]
    single = match[1] in ("1", "-1", "−1") or match[2] == "-"
    ends = match[4] and (not match[3].isalpha() or ends_sentence(match, names_follow=False))
    return f"{_signed(match[1])} {one if single else many}{'.' if ends else ''}"


def feet_inches(match: Match, _: object) -> str:
    """5'10" is "five foot ten"."""
    return f"{cardinal(match[1])} foot {cardinal(match[2])}"


def phone(match: Match, _: object) -> str:
    """Digits one by one, with a short pause between groups."""
    groups = re.findall(r"\d+", match[0])
    plus = "plus " if match[0].startswith("+") else ""
    return plus + ", ".join(digits(group) for group in groups)


def dialled(match: Match, _: object) -> str | None:
    """Call 911."""
    return digits(match[0]) if before(match).lower() in tables.DIALLED else None


def version(match: Match, _: object) -> str:
    """v2.0.1 and 2.0.1 have "point"; 192.168.0.1, of four parts, has "dot"."""
    parts = match[2].split(".")
    between = " dot " if len(parts) == 4 else " point "
    return ("version " if match[1] else "") + between.join(map(cardinal, parts))


def named_version(match: Match, is_word: object) -> str | None:
    """Python 3.10 is "three point ten"."""
    return version(match, is_word) if before(match).lower() in tables.VERSIONED else None


def mixed_fraction(match: Match, _: object) -> str | None:
    """1/2, 3 3/4, 2/31."""
    whole, top, bottom = match[1], match[2], match[3]
    if int(bottom) == 0:
        return None
    if not whole and len(top) == 4 and int(bottom) == (int(top) + 1) % 100:
        return f"{year(top)} to {cardinal(bottom)}"  # 2020/21
    if not whole:
        return fraction(top, bottom)
    part = "a half" if (int(top), int(bottom)) == (1, 2) else fraction(top, bottom)
    return f"{cardinal(whole.strip())} and {part}"


def ordinal_number(match: Match, _: object) -> str:
    """1st, 22nd."""
    return ordinal(match[1])


def to(match: Match, _: object) -> str:
    """The dash of 5-10 and of 1914–1918."""
    return "to"


def minus(match: Match, _: object) -> str:
    """The hyphen of 5 - 3."""
    return "minus"


def per(match: Match, _: object) -> str:
    """$5/kg is "five dollars per kilogram"."""
    return f"per {tables.UNITS[match[1]][0]}"


def four_digits(match: Match, _: object) -> str | None:
    """A year, unless a thing that is counted follows."""
    if not 1000 < int(match[1]) <= 2099:
        return None
    following = after(match)
    previous = re.sub(r"\W", "", before(match)).lower()
    plural_noun = following.islower() and following.endswith("s")
    plural_noun = plural_noun and following not in tables.NOT_PLURAL
    counted = plural_noun or following in tables.COUNTED
    return (
        None
        if counted and previous not in tables.BEFORE_YEARS
        else year(match[1]) + (match[2] or "")
    )


def number(match: Match, _: object) -> str:
    """Any other number; "5s" is "fives"."""
    words = _signed(match[1])
    return plural(words) if match[2] else words


def _rule(reason: str, pattern: str, speak: Callable, flags: int = 0) -> Rule:
    return Rule(reason, re.compile(pattern, flags), speak)


MONEY = re.compile(rf"({MINUS})({CURRENCY})\s?({NUMBER})({MAGNITUDE})?")
RULES = (
    _rule("date", r"(\d{4})-(\d\d)-(\d\d)(?![\w-])", iso_date),
    _rule("date", r"(\d\d?)/(\d\d?)/(\d{4}|\d\d)(?![\w/])", slashed_date),
    _rule(
        "date",
        rf"({MONTH})\s+(\d\d?){MARK_OF_DAY}(?![\w:/%]|\.\d|,\d\d\d\b)(?:,?\s+(\d{{4}})(?!\w))?",
        month_day,
    ),
    _rule(
        "date",
        rf"(\d\d?){MARK_OF_DAY}\s+(?:of\s+)?({MONTH})(?!\w)(?:,?\s+(\d{{4}})(?!\w))?",
        day_month,
    ),
    _rule("date", rf"({MONTH})\s+(\d{{4}})(?!\w)", month_year),
    _rule("decade", r"'?(\d{3}0|[2-9]0)'?s(?!\w)", decade),
    Rule("money", MONEY, money),
    _rule(
        "money",
        rf"({MINUS}{NUMBER}(?:{MAGNITUDE})?)\s?([$£€¥₹]|USD|EUR|GBP|CHF|JPY)(?!\w)",
        money_after,
    ),
    _rule("time", r"(\d\d?):(\d\d?)(?::(\d\d))?(?![\d:])(\s?[ap]\.?m\b\.?)?", clock, re.IGNORECASE),
    _rule("time", r"(\d\d?)\.([0-5]\d)()(\s?[ap]\.?m\b\.?)", clock, re.IGNORECASE),
    _rule("time", r"(\d\d?)\s?([ap]\.\s?m\.|[ap]m\b)", hour, re.IGNORECASE),
    _rule("phone number", r"\+\d[\d \-()]{6,18}\d(?!\w)", phone),
    _rule("phone number", r"(?:1[ .-])?(?:\(\d{3}\)\s?|\d{3}[ .-])\d{3}[.-]\d{4}(?!\w)", phone),
    _rule("phone number", r"\d{3}-\d{4}(?!\w)", phone),
    _rule("phone number", r"\d{3}(?![\w.,]*\d)", dialled),
    _rule("version", r"(v?)(\d+(?:\.\d+){2,})(?!\w)", version, re.IGNORECASE),
    _rule("version", r"(v)(\d+(?:\.\d+)*)(?!\w)", version),
    _rule("version", r"()(\d+\.\d+)(?!\w)", named_version),
    _rule("fraction", r"(\d+\s)?(\d+)/(\d+)(?![\w/])", mixed_fraction),
    _rule("length", r"(\d)'\s?(\d\d?)\"", feet_inches),
    _rule("unit", rf"({MINUS}{NUMBER})(\s|-)?({UNIT})(?![\w²³])(\.(?!\.))?", unit),
    _rule("ordinal", r"(\d+(?:,\d{3})*)(?:st|nd|rd|th)(?!\w)", ordinal_number, re.IGNORECASE),
    _rule("per", rf"(?<=[\d%])/({UNIT})(?!\w)", per),
    _rule("range", r"(?:(?<=[ap]m)|(?<=[ap]\.m\.))[-–—](?=\d)", to, re.IGNORECASE),
    _rule("range", r"(?<=[\d%])[-–—](?=[$£€]?\d)|(?<=[\d%]\s)[–—](?=\s[$£€]?\d)", to),
    _rule("minus", r"(?<=\d\s)-(?=\s\d)", minus),
    _rule("year", r"(\d{4})('s)?(?![\w%]|[.,]\d)", four_digits),
    _rule("number", rf"({MINUS}{NUMBER})('?s(?!\w))?", number),
)
