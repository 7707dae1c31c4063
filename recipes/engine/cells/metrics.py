"""sacreBLEU as the target language wants it: the one place that chooses the tokenizer."""

from __future__ import annotations

import re
from typing import Any

from sacrebleu.metrics import BLEU

from .errors import GridError

# Written without spaces; sacreBLEU has tokenizers of its own for Chinese, Japanese and Korean.
BY_CHARACTER = {"th", "tha", "lo", "lao", "km", "khm", "my", "mya", "bo", "bod", "dz", "dzo"}
TWO_LETTERS = {"zho": "zh", "chi": "zh", "cmn": "zh", "yue": "zh", "jpn": "ja", "kor": "ko"}


def bleu(target: str, **settings: Any) -> BLEU:
    """sacreBLEU's BLEU with the tokenizer of `target`, as `sacrebleu -l` chooses it.

    Args:
        target: fairseq's code of the language; a region or script (zh_CN, zho_Hans) is left out.
        settings: of sacrebleu.metrics.BLEU.

    Raises:
        GridError: the tokenizer is not installed.
    """
    language = re.split(r"[-_]", target.lower())[0]
    language = TWO_LETTERS.get(language, language)
    if language in BY_CHARACTER:
        settings.setdefault("tokenize", "char")
    try:
        return BLEU(trg_lang=language, **settings)
    except (ImportError, RuntimeError) as error:
        raise GridError(
            f"--target-lang {target}: sacreBLEU's tokenizer for it is not installed; "
            f"pip install 'sacrebleu[{language}]'"
        ) from error
