"""Pronunciations guessed from spelling, by a model that is learned from a lexicon.

Each letter of a known word is aligned with none, one or two of its phones. The pairs of a letter
and its phones are the symbols of an n-gram model with interpolated Kneser-Ney smoothing (Bisani and
Ney, "Joint-sequence models for grapheme-to-phoneme conversion", 2008, with shorter pairs). A beam
search finds the likely pairs of a new word.
"""

import collections
import lzma
import math
import os
import random
from collections.abc import Iterable, Mapping

from uniwav_jax.text.lexicon import STRESSED

Phones = tuple[str, ...]
Pair = tuple[str, Phones]
LONGEST = 2  # phones of a letter
# Pairs, and counts, are characters from here on, so that sequences of them are short strings.
FIRST = 0x30
START, END = "!", "#"
LARGEST = 50000  # count; larger characters include those that are no text
DISCOUNT = 0.75
MARGIN = 1.5  # nats by which a word with one primary stress may be less likely than another


class Alignment:
    """Probabilities of the phones of a letter, and the best alignment by them."""

    def __init__(self, counts: Mapping[Pair, float]) -> None:
        totals: dict[str, float] = collections.defaultdict(float)
        for (letter, _), count in counts.items():
            totals[letter] += count
        self.costs = {
            pair: -math.log(count / totals[pair[0]]) for pair, count in counts.items() if count > 0
        }

    def pairs(self, word: str, phones: Phones, unseen: float = 12.0) -> list[Pair] | None:
        """The alignment of least cost; None if the word has too few letters."""
        rows = len(phones) + 1
        best = [math.inf] * rows
        best[0] = 0.0
        steps = []
        for letter in word:
            new, step = [math.inf] * rows, [0] * rows
            for place in range(rows):
                start = best[place]
                if start == math.inf:
                    continue
                for size in range(min(LONGEST, rows - 1 - place) + 1):
                    pair = letter, phones[place : place + size]
                    cost = start + self.costs.get(pair, unseen + size)
                    if cost < new[place + size]:
                        new[place + size], step[place + size] = cost, size
            best = new
            steps.append(step)
        if best[-1] == math.inf:
            return None
        place, found = rows - 1, []
        for letter, step in zip(reversed(word), reversed(steps)):
            size = step[place]
            found.append((letter, phones[place - size : place]))
            place -= size
        return found[::-1]


def align(
    lexicon: Mapping[str, Phones], *, passes: int = 4, sample: int = 15000
) -> list[list[Pair]]:
    """Align all words with their phones; the first passes use a sample of them."""
    words = sorted(lexicon)
    random.Random(0).shuffle(words)
    counts: dict[Pair, float] = collections.defaultdict(float)
    for word in words[:sample]:
        phones = lexicon[word]
        for place, letter in enumerate(word):
            at = round(place * len(phones) / len(word))
            for near in (at - 1, at, at + 1):
                if 0 <= near < len(phones):
                    counts[letter, phones[near : near + 1]] += 1.0
            counts[letter, ()] += 0.5
    for number in range(passes):
        alignment = Alignment(counts)
        last = number == passes - 1
        chosen = words if last else words[:sample]
        aligned = [alignment.pairs(word, lexicon[word]) for word in chosen]
        counts = collections.Counter(pair for pairs in aligned if pairs for pair in pairs)
    return [pairs for pairs in aligned if pairs]


def is_primary(phone: str) -> bool:
    """Whether a phone of ARPAbet has the primary stress, of which a word has one."""
    return phone.endswith("1") and STRESSED.fullmatch(phone) is not None


class Spelling:
    """An n-gram model of pairs of a letter and its phones.

    `following` maps a history to the symbols after it, each with its count as a character.
    """

    def __init__(self, pairs: list[Pair], following: Mapping[str, str], order: int) -> None:
        self.pairs, self.following, self.order = pairs, following, order
        self._counts: dict[str, dict[str, int]] = {}
        self.candidates: dict[str, list[str]] = collections.defaultdict(list)
        for number, (letter, _) in enumerate(pairs):
            self.candidates[letter].append(chr(FIRST + number))

    @classmethod
    def train(cls, lexicon: Mapping[str, Phones], *, order: int = 5) -> "Spelling":
        """Learn from {word: phones}; 126,000 words take less than half a minute on one core."""
        aligned = align(lexicon)
        frequency = collections.Counter(pair for pairs in aligned for pair in pairs)
        pairs = [pair for pair, count in frequency.most_common() if count > 2]
        names = {pair: chr(FIRST + number) for number, pair in enumerate(pairs)}
        texts = [
            START + "".join(names[p] for p in word) + END
            for word in aligned
            if all(p in names for p in word)
        ]
        following: dict[str, str] = collections.defaultdict(str)
        for gram, count in sorted(_counts(texts, order).items()):
            following[gram[:-1]] += gram[-1] + chr(FIRST + min(count, LARGEST))
        return cls(pairs, following, order)

    def _counts_after(self, history: str) -> dict[str, int]:
        """{symbol: count} after a history, kept once it was needed."""
        if history not in self._counts:
            text = self.following.get(history, "")
            self._counts[history] = {
                text[i]: ord(text[i + 1]) - FIRST for i in range(0, len(text), 2)
            }
        return self._counts[history]

    def probabilities(self, history: str, symbols: Iterable[str]) -> dict[str, float]:
        """Probability of each of some symbols after a history."""
        found = {symbol: 1.0 / (len(self.pairs) + 1) for symbol in symbols}
        for length in range(min(len(history), self.order - 1) + 1):
            counts = self._counts_after(history[len(history) - length :])
            if not counts:
                break
            total = sum(counts.values())
            back = DISCOUNT * len(counts) / total
            for symbol in found:
                found[symbol] *= back
                if symbol in counts:
                    found[symbol] += (counts[symbol] - DISCOUNT) / total
        return found

    def __call__(self, word: str, *, beam: int = 24) -> Phones:
        """The likeliest phones of a word; letters that no known word has get none."""
        hypotheses = {START: 0.0}
        for letter in word:
            symbols = self.candidates.get(letter)
            if not symbols:
                continue
            extended: dict[str, float] = {}
            for text, score in hypotheses.items():
                for symbol, p in self.probabilities(text[1 - self.order :], symbols).items():
                    extended[text + symbol] = score + math.log(p)
            best = sorted(extended, key=extended.__getitem__, reverse=True)
            kept, hypotheses, states = 0, {}, set()
            for text in best:  # of hypotheses with the same future, the best
                state = text[1 - self.order :]
                if state not in states:
                    states.add(state)
                    hypotheses[text] = extended[text]
                    kept += 1
                    if kept == beam:
                        break
        final = {
            text: score + math.log(self.probabilities(text[1 - self.order :], END)[END])
            for text, score in hypotheses.items()
        }
        phones = {text: self._phones(text) for text in final}
        least = max(final.values()) - MARGIN
        stressed = [t for t in final if sum(map(is_primary, phones[t])) == 1 and final[t] > least]
        return phones[max(stressed or final, key=final.__getitem__)]

    def _phones(self, text: str) -> Phones:
        return tuple(p for symbol in text[1:] for p in self.pairs[ord(symbol) - FIRST][1])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as compressed lines of text."""
        pairs = [" ".join((letter, *phones)) for letter, phones in self.pairs]
        lines = [f"{history} {counts}" for history, counts in self.following.items()]
        text = "\n".join((str(self.order), str(len(pairs)), *pairs, *lines))
        with lzma.open(path, "wb", preset=9) as file:
            file.write(text.encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Spelling":
        """Read a model that `save` wrote."""
        with lzma.open(path) as file:
            order, number, *lines = file.read().decode().split("\n")
        rows = [line.split(" ") for line in lines[: int(number)]]
        pairs = [(letter, tuple(phones)) for letter, *phones in rows]
        following = dict(line.split(" ") for line in lines[int(number) :])
        return cls(pairs, following, int(order))


def _counts(texts: list[str], order: int) -> dict[str, int]:
    """Counts of the n-grams of all lengths; below the longest, of different symbols before them.

    An n-gram that begins a word has nothing before it, so its occurrences are counted.
    """
    level = collections.Counter(
        text[max(0, end - order) : end] for text in texts for end in range(2, len(text) + 1)
    )
    kept: dict[str, int] = {}
    for length in range(order, 0, -1):
        shorter: collections.Counter[str] = collections.Counter()
        for gram, count in level.items():
            if len(gram) < length:
                shorter[gram] += count
            else:
                kept[gram] = count
                shorter[gram[1:]] += 1
        level = shorter
    return kept
