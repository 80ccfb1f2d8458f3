"""Prompts whose length in tokens is known: every word below is one token of Gemma, alone and after a space.

So N words are N + 1 tokens (the first is BOS). Both sides get the same text; every run gets text that was never sent
before, so that no cache of either side helps where it is not the thing measured.
"""

from __future__ import annotations

import random

_TEXT = """
apple river mountain garden window table silver copper forest winter summer spring autumn morning evening
market bridge castle island valley desert ocean village city street road tower wall door floor roof kitchen
chair lamp mirror clock paper pencil letter book page story song music dance paint color green yellow purple
orange black white brown gold stone sand water fire earth wind rain snow storm cloud thunder light shadow
night day week month year hour minute second moment time history future past present child mother father
sister brother friend teacher doctor farmer king queen lady lord master hunter driver pilot captain dog cat
horse cow sheep goat bird fish snake lion tiger bear wolf fox rabbit mouse eagle duck chicken bee bread
butter cheese milk honey sugar salt pepper rice corn bean potato tomato onion cherry lemon tea coffee wine
beer oil soap glass bottle basket box bag rope chain wheel engine train ship boat plane car wagon hammer
nail knife sword shield arrow gun bell drum violin piano guitar theater church school library hospital
prison bank office factory farm mill mine field hill lake pond stream coast beach cave path gate fence north
south east west left right front back top bottom center corner edge line circle square number word question
answer problem reason idea plan dream hope fear love anger joy peace war law rule order power force energy
heat cold ice steam smoke dust mud grass leaf branch root seed flower tree wood iron steel tin lead cotton
wool silk leather cloth shirt coat hat shoe boot ring crown pearl diamond money price trade cost
"""

WORDS = tuple(_TEXT.split())

BOS_TOKENS = 1


def disjoint(count: int, tokens: int, rng: random.Random) -> list[str]:
    """`count` prompts of `tokens` tokens each (BOS counted), no two of which begin with the same word."""
    if count > len(WORDS):
        raise ValueError(f"at most {len(WORDS)} prompts can differ in their first word, not {count}")
    firsts = rng.sample(WORDS, count)
    return [" ".join([first, *rng.choices(WORDS, k=tokens - BOS_TOKENS - 1)]) for first in firsts]


def prefix(tokens: int, rng: random.Random) -> str:
    """A prefix of `tokens` tokens (BOS counted)."""
    return " ".join(rng.choices(WORDS, k=tokens - BOS_TOKENS))


def sharing(shared: str, count: int, suffix_tokens: int, rng: random.Random) -> list[str]:
    """`count` prompts that share `shared` and part ways at the very next token."""
    return [f"{shared} {ending}" for ending in disjoint(count, suffix_tokens + BOS_TOKENS, rng)]
