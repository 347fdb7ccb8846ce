#!/usr/bin/env python3
"""Tokenizers and what Hugging Face's fast tokenizers make of texts: tests/golden/text/.

    text.py                                      writes them anew
    text.py --vane build/vane --count 2000 [--seed 1]   compares, outside of the tree: larger tokenizers, other texts

Each folder holds a tokenizer trained on the sentences below, with the parts that a class of transformers has:

    clip         CLIPTokenizerFast: tokenizer.json; its pad token is "!"
    clip-files   the same as vocab.json and merges.txt
    clip-sd1     clip-files with the configs of Stable Diffusion 1.5: tokens in two forms, of which the last stands
    clip-sd2     the same, but special_tokens_map.json says otherwise: the pad token is "!"
    t5           T5TokenizerFast of today: a charsmap, white space split, "▁", </s> at the end, <extra_id_..>
    t5-legacy    as older converters left it: a charsmap, Strip, Replace, Metaspace; tokens that take white space
    gpt2         ByteLevel with its own expression, a template of <s> and </s>
    llama        BPE of characters with bytes for what is unknown; Prepend, Replace, NFKC

cases.json holds the texts and, for each folder, their ids: as they are, and of length 12. learned.json is the vocabulary and the
merges that Hugging Face's trainer of byte-level BPE learns from those of the texts in which there is no "<".
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import tempfile
import unicodedata

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, CLIPTokenizerFast, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import import_protobuf

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "text")
LENGTH = 12
LEARNED = 600  # tokens

SENTENCES = """a photo of a cat on a mat, and the cat's hat isn't red
two small green circles left of a large blue square
it's what they've said: we're there, I'm here, you'll see, she'd go
The quick brown fox jumps over 13 lazy dogs; 2024-12-31, 3.14159!
un château près de la forêt, où l'été est très long
die schönen großen Bäume über den Flüssen, Straße und Fuß
¿dónde está el niño pequeño? mañana por la mañana
все люди рождаются свободными и равными в своём достоинстве
όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια
כל בני אדם נולדו בני חורין ושווים בערכם
يولد جميع الناس أحرارا متساوين في الكرامة والحقوق
सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता
すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である
人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心
모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다
มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน
tất cả mọi người sinh ra đều được tự do và bình đẳng
İstanbul'da ışıklı bir ılık gece, ŞİŞLİ ÇAĞ
🙂 👍🏽 👩‍👩‍👧 🇫🇷 ❤️ ☀️ emoji and symbols: € £ ¥ © ™ ½ ² ⅷ ﬁ ﬂ Ⅷ
ＦＵＬＬ　ｗｉｄｔｈ ﾊﾝｶｸ ㍿ ㎏ ① ⓐ""".split("\n")

# Unicode's blocks that random characters come from, and how often.
BLOCKS = [
    (0x20, 0x7E, 8), (0x01, 0x1F, 1), (0x7F, 0xA0, 1), (0xA1, 0x24F, 4), (0x250, 0x2FF, 1), (0x300, 0x36F, 3),
    (0x370, 0x3FF, 2), (0x400, 0x52F, 2), (0x530, 0x5FF, 2), (0x600, 0x6FF, 2), (0x900, 0xDFF, 2), (0xE00, 0xFFF, 1),
    (0x10A0, 0x11FF, 1), (0x1680, 0x1680, 1), (0x1AB0, 0x1AFF, 1), (0x1DC0, 0x1EFF, 2), (0x1F00, 0x1FFF, 1),
    (0x2000, 0x206F, 3), (0x2070, 0x21FF, 2), (0x2460, 0x27BF, 2), (0x3000, 0x30FF, 2), (0x3130, 0x33FF, 2),
    (0x4E00, 0x9FFF, 2), (0xAC00, 0xD7A3, 2), (0xE000, 0xF8FF, 1), (0xF900, 0xFAFF, 1), (0xFB00, 0xFEFF, 2),
    (0xFF00, 0xFFFD, 2), (0x10000, 0x107FF, 1), (0x110BD, 0x110BD, 1), (0x1D400, 0x1D7FF, 1), (0x1F000, 0x1F9FF, 3),
    (0x20000, 0x2A6DF, 1), (0x2F800, 0x2FA1D, 1), (0xE0001, 0xE01EF, 1),
]  # fmt: skip
SPECIAL = ["<|endoftext|>", "<|startoftext|>", "<|ENDOFTEXT|>", "</s>", "<s>", "<pad>", "<unk>", "<extra_id_0>", "<extra_id_11>",
           "<mask>", "!", "▁", "</w>", "<0x41>", "word", "WORD"]  # fmt: skip
SPACES = [" ", "  ", "\t", "\u00a0", "\u3000", "\u2028", " \u200b", "\u180e", "\x85", "\n", "\r\n"]
MARKS = ["\u0301", "\u0327\u0301", "\u0323\u0307", "\u200d", "\ufe0f", "\u20e3", "\u0308", "\u0345", "\u05b0", "\u094d"]


def is_common(c):
    """Whether `tokenizers` (normal forms of Unicode 9, letters of Unicode 16) and Python's Unicode (14 or 15) agree on it."""
    if unicodedata.category(c) == "Cn":
        return False
    form = normalizers.NFKD()
    return all(form.normalize_str(s) == unicodedata.normalize("NFKD", s) for s in (c, "a\u0345" + c, "a" + c + "\u0334"))


def random_char(r):
    while True:
        low, high, _ = r.choices(BLOCKS, [b[2] for b in BLOCKS])[0]
        c = chr(r.randint(low, high))
        if is_common(c):
            return c


def random_text(r, lines):
    """lines: one that can be a line of a file."""
    words = [w for s in SENTENCES for w in s.split()]
    parts = []
    for _ in range(r.choice([0, 1, 2, 3, 5, 8, 12])):
        kind = r.random()
        if kind < 0.35:
            parts.append(r.choice(words))
        elif kind < 0.5:
            parts.append("".join(random_char(r) for _ in range(r.randint(1, 4))))
        elif kind < 0.6:
            parts.append(r.choice("eaounicAEgкиα한あक") + r.choice(MARKS))
        elif kind < 0.7:
            parts.append(r.choice(SPECIAL))
        elif kind < 0.75:
            parts.append(r.choice(["🙂", "👍🏽", "👩‍👩‍👧", "🇫🇷", "❤️", "1️⃣", "12,345.6", "''s'S'LL", "aaaaaaaa"]))
        elif kind < 0.8:
            parts.append(r.choice(words).upper())
        else:
            parts.append(r.choice(SPACES))
        if r.random() < 0.5:
            parts.append(" ")
    text = "".join(parts)
    return text.replace("\n", " ") if lines else text


# ---- tokenizers


def clip(size, folder, files):
    t = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>", continuing_subword_prefix=""))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    pattern = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[], end_of_word_suffix="</w>",
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)  # fmt: skip
    t.train_from_iterator(SENTENCES, trainer)
    model = json.loads(t.to_str())["model"]
    # Every letter as the end of a word too, and the special tokens at the end, as in CLIP's vocabulary.
    vocab = {k: i for i, k in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for k in [k + "</w>" for k in vocab] + list(model["vocab"]) + ["<|startoftext|>", "<|endoftext|>"]:
        vocab.setdefault(k, len(vocab))
    merges = [tuple(m) for m in model["merges"]]
    pad = "!" if not files else "<|endoftext|>"
    made = CLIPTokenizerFast(vocab=vocab, merges=merges, pad_token=pad)
    made.save_pretrained(folder)
    if files:
        os.remove(os.path.join(folder, "tokenizer.json"))
        with open(os.path.join(folder, "vocab.json"), "w") as f:
            json.dump(vocab, f, ensure_ascii=False)
        with open(os.path.join(folder, "merges.txt"), "w") as f:
            f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
        os.remove(os.path.join(folder, "tokenizer_config.json"))
        return made
    return CLIPTokenizerFast.from_pretrained(folder)


def stable_diffusion(files, folder, pad):
    """clip-files with the configs that the first pipelines have."""
    shutil.copytree(files, folder)
    named = lambda s: {"content": s, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    names = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    config = {k: {"__type": "AddedToken", **named(v)} for k, v in names.items()}
    config.update(add_prefix_space=False, do_lower_case=True, errors="replace", model_max_length=77, pad_token="<|endoftext|>",
                  tokenizer_class="CLIPTokenizer")  # fmt: skip
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump(config, f)
    with open(os.path.join(folder, "special_tokens_map.json"), "w") as f:
        json.dump({**{k: named(v) for k, v in names.items()}, "pad_token": pad}, f)
    return CLIPTokenizerFast.from_pretrained(folder)


def rules():
    """A small map of sentencepiece's kind: NFKC of some characters, white space to blanks, controls to nothing."""
    codes = [c for low, high in [(0xA0, 0xFF), (0xFB00, 0xFB06), (0xFF01, 0xFF9F), (0x2460, 0x2475), (0x2000, 0x200F), (0x3000, 0x3001),
                                 (0x2160, 0x216B), (0x3300, 0x3310)] for c in range(low, high + 1)]  # fmt: skip
    lines = {chr(c): unicodedata.normalize("NFKC", chr(c)) for c in codes}
    lines = {k: v for k, v in lines.items() if k != v}
    for c in [9, 10, 13, 0x85, 0x2028]:
        lines[chr(c)] = " "
    for c in [1, 2, 0x1B, 0x7F, 0x200B, 0xFEFF]:
        lines[chr(c)] = ""
    for a in "aeiouncAEO":
        for m in "\u0300\u0301\u0302\u0303\u0308\u0327":
            if len(unicodedata.normalize("NFC", a + m)) == 1:
                lines[a + m] = unicodedata.normalize("NFC", a + m)
    hexes = lambda s: " ".join(f"{ord(c):X}" for c in s)
    return "".join(f"{hexes(k)}\t{hexes(v)}\n" for k, v in sorted(lines.items()))


def pieces(size, whole_map):
    """Pieces, scores and the map of a sentencepiece model."""
    with tempfile.TemporaryDirectory() as folder:
        text, tsv = os.path.join(folder, "text"), os.path.join(folder, "rules.tsv")
        with open(text, "w") as f:
            f.write("\n".join(SENTENCES))
        with open(tsv, "w") as f:
            f.write(rules())
        how = {"normalization_rule_name": "nmt_nfkc"} if whole_map else {"normalization_rule_tsv": tsv}
        sentencepiece.SentencePieceTrainer.train(
            input=text, model_prefix=os.path.join(folder, "m"), vocab_size=size, character_coverage=0.98, pad_id=0, eos_id=1,
            unk_id=2, bos_id=-1, minloglevel=2, hard_vocab_limit=False, num_threads=1, **how
        )  # fmt: skip
        proto = import_protobuf().ModelProto()
        with open(os.path.join(folder, "m.model"), "rb") as f:
            proto.ParseFromString(f.read())
    vocab = [(p.piece, p.score) for p in proto.pieces]
    return vocab, proto.normalizer_spec.precompiled_charsmap


def t5(size, folder, legacy, whole_map):
    vocab, charsmap = pieces(size, whole_map)
    if legacy:
        vocab += [(f"<0x{b:02X}>", -20.0) for b in range(256)]
    extra = [f"<extra_id_{i}>" for i in range(11, -1, -1)]
    vocab += [(e, 0.0) for e in extra]
    t = Tokenizer(models.Unigram(vocab, unk_id=2, byte_fallback=legacy))
    if legacy:
        t.normalizer = normalizers.Sequence(
            [normalizers.Precompiled(charsmap), normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁")]
        )
        t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
    else:
        t.normalizer = normalizers.Precompiled(charsmap)
        t.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
        )
    t.decoder = decoders.Metaspace()
    t.post_processor = processors.TemplateProcessing(single=["$A", "</s>"], pair=["$A", "</s>", "$B", "</s>"], special_tokens=[("</s>", 1)])
    special = [AddedToken(s, special=True, normalized=False, lstrip=legacy, rstrip=legacy) for s in ["<pad>", "</s>", "<unk>"] + extra]
    t.add_special_tokens(special)
    if legacy:
        t.add_tokens([AddedToken("word", single_word=True, normalized=True), AddedToken("<mask>", lstrip=True, normalized=False)])
    made = PreTrainedTokenizerFast(tokenizer_object=t, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    made.save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def gpt2(size, folder):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<s>", "<pad>", "</s>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)  # fmt: skip
    t.train_from_iterator(SENTENCES, trainer)
    t.decoder = decoders.ByteLevel()
    template = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    made = PreTrainedTokenizerFast(tokenizer_object=t, pad_token="<pad>", bos_token="<s>", eos_token="</s>", padding_side="left",
                                   truncation_side="left", additional_special_tokens=["<mask>"])  # fmt: skip
    made.save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def llama(size, folder):
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(0, 256, 1 if size > 1000 else 2)]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False, limit_alphabet=120)
    t.train_from_iterator(SENTENCES, trainer)
    data = json.loads(t.to_str())
    data["added_tokens"] = [a for a in data["added_tokens"] if a["id"] < 3]
    for a in data["added_tokens"]:
        a["normalized"] = a["id"] == 1
    t = Tokenizer.from_str(json.dumps(data))
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(tokenizer_object=t, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>")
    made.save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def tokenizers(folder, large):
    """All of them, in folders of `folder`: by name."""
    at = lambda name: os.path.join(folder, name)
    shutil.rmtree(folder, ignore_errors=True)
    made = {
        "clip": clip(4000 if large else 700, at("clip"), False),
        "clip-files": clip(3000 if large else 650, at("clip-files"), True),
    }
    return {
        **made,
        "clip-sd1": stable_diffusion(at("clip-files"), at("clip-sd1"), "<|endoftext|>"),
        "clip-sd2": stable_diffusion(at("clip-files"), at("clip-sd2"), "!"),
        "t5": t5(900 if large else 400, at("t5"), False, large),
        "t5-legacy": t5(700 if large else 350, at("t5-legacy"), True, large),
        "gpt2": gpt2(2000 if large else 450, at("gpt2")),
        "llama": llama(2500 if large else 450, at("llama")),
    }


# ---- cases


def ids_of(t, texts, length=None):
    return [t(s, max_length=length, padding="max_length" if length else False, truncation=bool(length))["input_ids"] for s in texts]


def fixed_texts():
    return ["", " ", "a photo of a cat", "!", "<|endoftext|>"] + SENTENCES


def write():
    made = tokenizers(HERE, False)
    r = random.Random(0)
    texts = fixed_texts() + [random_text(r, False) for _ in range(250)]
    cases = {"texts": texts, "length": LENGTH, "ids": {}, "cut": {}}
    for name, t in made.items():
        cases["ids"][name] = ids_of(t, texts)
        cases["cut"][name] = ids_of(t, texts, LENGTH)
    with open(os.path.join(HERE, "cases.json"), "w") as f:
        json.dump(cases, f, ensure_ascii=True, separators=(",", ":"))
    with open(os.path.join(HERE, "learned.json"), "w") as f:
        json.dump(learned(texts), f, ensure_ascii=True, separators=(",", ":"))


def learned(texts):
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(vocab_size=LEARNED, min_frequency=1, special_tokens=["<pad>", "<begin>", "<end>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)  # fmt: skip
    t.train_from_iterator([x for x in texts if "<" not in x], trainer)
    model = json.loads(t.to_str())["model"]
    return {"vocab": model["vocab"], "merges": model["merges"]}


def compare(vane, count, seed):
    from safetensors.numpy import load_file

    r = random.Random(seed)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        made = tokenizers(os.path.join(folder, "t"), True)
        texts = fixed_texts() + [random_text(r, True) for _ in range(count)]
        source, out = os.path.join(folder, "texts"), os.path.join(folder, "ids.safetensors")
        with open(source, "w", newline="") as f:
            f.write("".join(t + "\n" for t in texts))
        for name, t in made.items():
            for length in [None, 77, 9]:
                command = [vane, "tokens", os.path.join(folder, "t", name), "--in", source, "--out", out]
                subprocess.run(command + (["--length", str(length)] if length else []), check=True, stdout=subprocess.DEVNULL)
                found = load_file(out)["ids"]
                expected = ids_of(t, texts, length)
                longest = max(len(e) for e in expected)
                bad = 0
                for s, e, f in zip(texts, expected, found):
                    fill = [t.pad_token_id] * (longest - len(e))
                    if (fill + e if t.padding_side == "left" else e + fill) != list(f):
                        bad += 1
                        if bad <= 3:
                            print(f"{name} {length}: {s!r}\n  expected {t.convert_ids_to_tokens(e)}\n  found    "
                                  f"{t.convert_ids_to_tokens([int(i) for i in f])}")  # fmt: skip
                print(f"{name:12} length {length}: {bad} of {len(texts)} differ")
                wrong += bad
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--vane")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.vane:
        raise SystemExit(compare(args.vane, args.count, args.seed) > 0)
    write()
