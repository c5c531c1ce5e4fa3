"""The length of speech by the characters of its text, for models without durations.

The weights are for alphabets such as the Latin one. Short texts are spoken more slowly: a length t
below 1 s becomes t^(1/3).
"""

import unicodedata

SPACE, MARK, DIGIT = 0.2, 0.5, 3.5  # weights; a letter has 1
TEMPO = 14.0  # weight of a second of speech, where no prompt tells it
SHORT = 1.0  # seconds; shorter speech is made longer


def weight(text: str) -> float:
    """Sum of the weights of a text's characters."""
    total = 0.0
    for character in text:
        if character.isspace():
            total += SPACE
        elif unicodedata.category(character).startswith("N"):
            total += DIGIT
        elif character.isalpha():
            total += 1.0
        elif not unicodedata.combining(character):
            total += MARK
    return total


def seconds(text: str, prompt_text: str = "", prompt_seconds: float = 0.0) -> float:
    """Estimated length of speech.

    Args:
        text: what is spoken.
        prompt_text: what is said in a prompt, whose tempo is continued; "": not known.
        prompt_seconds: length of that prompt.
    """
    known = weight(prompt_text)
    tempo = known / prompt_seconds if known and prompt_seconds else TEMPO
    estimate = weight(text) / tempo
    return estimate if estimate >= SHORT else SHORT * (estimate / SHORT) ** (1 / 3)
