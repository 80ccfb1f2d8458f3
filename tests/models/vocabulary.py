"""Two small vocabularies in which every text can be written: SentencePiece with byte tokens, and byte-level BPE."""

from __future__ import annotations

from dataclasses import dataclass, field

from gguf import GGUFWriter, TokenType

BOS, EOS = "<s>", "</s>"
TURN, END_OF_TURN = "<|turn|>", "<|end|>"

# Every turn as `<|turn|>role\ntext<|end|>\n`: enough for a chat to have a structure.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<|turn|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)

# Pieces of more than one character, so that text does not map one to one to tokens.
_PIECES = ["th", "the", "in", "ing", "er", "an", "and", "on", "re", "es", "en", "at", "or", "to", "of", "is", "ou"]


@dataclass(kw_only=True)
class Vocabulary:
    """`control` are the ids that no random model should choose by itself, `rare` those of unreadable bytes."""

    model: str
    pre: str
    tokens: list[bytes] = field(default_factory=list)
    types: list[TokenType] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    merges: list[str] = field(default_factory=list)

    def add(self, token: str, kind: TokenType = TokenType.NORMAL, score: float = 0.0) -> int:
        self.tokens.append(token.encode())
        self.types.append(kind)
        self.scores.append(score)
        return len(self.tokens) - 1

    @property
    def control(self) -> list[int]:
        return [i for i, kind in enumerate(self.types) if kind in (TokenType.CONTROL, TokenType.UNKNOWN)]

    @property
    def rare(self) -> list[int]:
        if self.model == "llama":
            return [i for i, kind in enumerate(self.types) if kind is TokenType.BYTE]
        readable = {character for byte, character in enumerate(_gpt2_alphabet()) if 32 <= byte < 127}
        return [i for i, token in enumerate(self.tokens) if not readable.issuperset(token.decode())]

    def pad(self, multiple: int = 32) -> Vocabulary:
        while len(self.tokens) % multiple:
            self.add(f"<unused{len(self.tokens)}>", TokenType.CONTROL)
        return self

    def write(self, writer: GGUFWriter) -> None:
        ids = {token.decode(): i for i, token in enumerate(self.tokens)}
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.model == "llama":
            writer.add_token_scores(self.scores)
            writer.add_unk_token_id(0)
        else:
            writer.add_token_merges(self.merges)
        writer.add_bos_token_id(ids[BOS])
        writer.add_eos_token_id(ids[EOS])
        writer.add_eot_token_id(ids[END_OF_TURN])
        writer.add_add_bos_token(True)
        writer.add_add_eos_token(False)
        writer.add_add_space_prefix(False)
        writer.add_chat_template(CHAT_TEMPLATE)


def sentencepiece() -> Vocabulary:
    """Letters and some pieces; whatever else there is (é, 漢, 😀) falls back to one token a byte."""
    vocabulary = Vocabulary(model="llama", pre="default")
    vocabulary.add("<unk>", TokenType.UNKNOWN)
    for special in (BOS, EOS, TURN, END_OF_TURN):
        vocabulary.add(special, TokenType.CONTROL)
    for byte in range(256):
        vocabulary.add(f"<0x{byte:02X}>", TokenType.BYTE)
    for code in range(33, 127):
        vocabulary.add(chr(code), score=-100.0)
    vocabulary.add("\u2581", score=-100.0)  # how SentencePiece writes a space
    for rank, piece in enumerate(_PIECES):
        vocabulary.add(piece, score=-1.0 - rank)
        vocabulary.add("\u2581" + piece, score=-1.5 - rank)
    return vocabulary.pad()


def byte_level() -> Vocabulary:
    """One token a byte (GPT-2's alphabet) and a merge for each piece."""
    vocabulary = Vocabulary(model="gpt2", pre="gpt-2")
    alphabet = _gpt2_alphabet()
    for byte in range(256):
        vocabulary.add(alphabet[byte])
    known = set(alphabet)
    for piece in sorted(_PIECES, key=len):
        head, tail = piece[:-1], piece[-1]
        if head not in known:
            vocabulary.add(head)
            vocabulary.merges.append(f"{head[:-1]} {head[-1]}")
            known.add(head)
        vocabulary.add(piece)
        vocabulary.merges.append(f"{head} {tail}")
        known.add(piece)
    for special in (BOS, EOS, TURN, END_OF_TURN):
        vocabulary.add(special, TokenType.CONTROL)
    return vocabulary.pad()


def _gpt2_alphabet() -> list[str]:
    """A printable character for each byte, as GPT-2 chose them."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]
