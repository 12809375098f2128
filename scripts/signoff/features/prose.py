"""Whether texts consist of words, so that features can be made of them, or only name the row."""

import re
from collections import Counter
from collections.abc import Iterable
from itertools import islice

# Characters of scripts that do not separate words: Thai, Japanese and Chinese. Each counts as a word.
UNSEPARATED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff"
_UNSEPARATED = re.compile(f"[{UNSEPARATED}]")
_AROUND = ".,;:!?\"'()[]{}«»„“”‘’*#&/-–—…"
# The number of different texts that are looked at.
_MOST_TEXTS = 2_000
# Most texts have several words, and this share of the words occurs in several texts.
_SHARE_WITH_WORDS, _SHARE_REPEATED = 0.5, 0.25


def is_prose(texts: Iterable[str]) -> bool:
    """Return whether most of some different texts have several words, of which many occur in other texts too.

    Ids, hashes, e-mail addresses and numbers have no words, and random ones do not repeat.
    """
    found = [_words(each) for each in islice(texts, _MOST_TEXTS)]
    if not found or sum(len(each) > 1 for each in found) < _SHARE_WITH_WORDS * len(found):
        return False
    counts = Counter(word for each in found for word in set(each))
    total = sum(counts.values())
    return sum(count for count in counts.values() if count > 1) >= _SHARE_REPEATED * total


def _words(text: str) -> list[str]:
    """Return the words of a text in lower case: letters between spaces, with apostrophes and hyphens within."""
    words: list[str] = []
    for each in text.lower().split():
        if single := _UNSEPARATED.findall(each):
            words += single
        elif (word := each.strip(_AROUND)) and re.sub("['’-]", "", word).isalpha():
            words.append(word)
    return words
