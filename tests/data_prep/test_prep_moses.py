"""Moses tokens: lines checked by hand against the rules of tokenizer.perl."""

import pytest

from data_prep.lib.moses import detokenizer, lowercase, printable, tokenizer, undo_bpe

LINES = [
    # quotes and apostrophes, escaped; German splits 's off on both sides
    ("en", 'He said, "It\'s late."', "He said , &quot; It &apos;s late . &quot;"),
    ("en", "I can't; they're here.", "I can &apos;t ; they &apos;re here ."),
    ("en", "“Quoted” text – dash", "“ Quoted ” text – dash"),
    ("de", "Er sagte: „Das ist schön.“", "Er sagte : „ Das ist schön . “"),
    ("de", "Geht's dir gut?", "Geht &apos; s dir gut ?"),
    # hyphens stay (-a splits them, below)
    ("en", "a state-of-the-art e-mail", "a state-of-the-art e-mail"),
    # abbreviations keep their stop, before a number only some do; the last stop is split
    ("en", "Mr. Smith left at 3.30 p.m. today.", "Mr. Smith left at 3.30 p.m. today ."),
    ("en", "No. 5 is Dr. No.", "No. 5 is Dr. No ."),
    (
        "de",
        "Am 3. Oktober kam Prof. Weiß, z.B. um 9 Uhr.",
        "Am 3. Oktober kam Prof. Weiß , z.B. um 9 Uhr .",
    ),
    # numbers, money, percent
    ("en", "It cost $1,000.50 (100%).", "It cost $ 1,000.50 ( 100 % ) ."),
    ("de", "Das kostet 1.000,50 €.", "Das kostet 1.000,50 € ."),
    # URLs are taken apart, as Moses does without its protected patterns
    (
        "en",
        "See https://example.org/a?b=c&d=1 now",
        "See https : / / example.org / a ? b = c &amp; d = 1 now",
    ),
    # umlauts and ß are letters
    ("de", "Müller-Lüdenscheidts übergroße Füße", "Müller-Lüdenscheidts übergroße Füße"),
    # Unicode spaces (no-break, thin, ideographic) and tabs become one space
    ("en", "A\u00a0B\u2009C\u3000D  E\tF", "A B C D E F"),
    # characters that Moses' decoder keeps for itself
    ("en", "[a|b] <tag>", "&#91; a &#124; b &#93; &lt; tag &gt;"),
    ("en", "Wait... what?!", "Wait ... what ? !"),
]


@pytest.mark.parametrize("language, text, tokens", LINES)
def test_tokens_of_hand_checked_lines(language, text, tokens):
    assert tokenizer(language)([text]) == [tokens]


def test_aggressive_hyphens_and_normalised_punctuation():
    # fairseq's WMT form: normalize-punctuation, remove-non-printing-char, tokenizer -a
    tokens = tokenizer("en", normalise=True, aggressive=True)
    assert tokens(["“Well-known” — don’t…", "a\u200bb"]) == [
        "&quot; Well @-@ known &quot; - don &apos;t ...",
        "a b",
    ]


@pytest.mark.parametrize(
    "language, text",
    [
        ("de", "Er sagte, dass z.B. die Größe (100 %) nicht stimmt."),
        ("en", "It's a well-known e-mail, isn't it?"),
    ],
)
def test_detokenized_text_tokenizes_to_the_same(language, text):
    for aggressive in (False, True):
        tokens = tokenizer(language, aggressive=aggressive)([text])
        again = tokenizer(language, aggressive=aggressive)(detokenizer(language)(tokens))
        assert again == tokens


def test_lowercase_is_perl_lc():
    assert lowercase("ÄÖÜ ẞ ΣΑΣ") == "äöü ß σασ"  # Python alone: "σας"


def test_printable_and_undo_bpe():
    assert printable("a\u00adb\x07c – ü") == "a b c – ü"
    assert undo_bpe("über@@ gro@@ ße füße") == "übergroße füße"
