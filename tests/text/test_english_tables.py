"""The tables have keys that the rules can find, and words that can be spoken."""

from uniwav_jax.text import english_tables as tables
from uniwav_jax.text.english import SPOKEN_WORD


def test_values_are_spoken_words():
    simple = (tables.TITLES, tables.STREETS, tables.ABBREVIATIONS, tables.BEFORE_NUMBERS)
    simple += (tables.SLASHED, tables.DAYS, tables.SHORT_MONTHS, tables.MAGNITUDES)
    simple += (tables.SYMBOLS, tables.NAMES, tables.ELIDED)
    values = [value for table in simple for value in table.values()]
    values += [
        v for table in (tables.UNITS, tables.CURRENCIES) for row in table.values() for v in row
    ]
    for value in values:
        assert all(map(SPOKEN_WORD.fullmatch, value.split())), value


def test_keys_of_abbreviations_are_in_lower_case():
    for table in (tables.TITLES, tables.STREETS, tables.ABBREVIATIONS, tables.BEFORE_NUMBERS):
        assert all(key == key.lower() and not key.endswith(".") for key in table)


def test_units_have_their_prefixes():
    assert tables.UNITS["GHz"] == ("gigahertz", "gigahertz")
    assert tables.UNITS["ms"] == ("millisecond", "milliseconds")
    assert tables.UNITS["MB"] == ("megabyte", "megabytes")
    assert tables.UNITS["m"] == ("meter", "meters") and tables.UNITS["g"] == ("gram", "grams")
