"""What the scripts can prepare: sources, file names, licences, hashes.

Sources and order are those of fairseq's own recipes (examples/translation/prepare-*.sh).
A `Part` is one piece of one split; the parts of a split are joined in the order given.
`{language}` in a name stands for de or en. The sha256 of WMT's archives are those that
tensorflow/datasets publishes (url_checksums/wmt14_translate.txt, wmt17_translate.txt).
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Remote:
    """A file to download; sha256 is None where nobody has published one (then it is recorded)."""

    url: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Part:
    """One text with a side per language."""

    names: tuple[str, ...]  # local names to look for, without .gz and the like, best first
    files: dict[str, Remote] = field(default_factory=dict)  # language -> file to download
    archive: Remote | None = None  # or: an archive to download
    member: str = ""  # and the file in it
    markup: str = "plain"  # a reader of markup.py
    note: str = ""  # said in the data card when this part was used

    def members(self, languages: tuple[str, str]) -> tuple[str, str]:
        """The two files in the archive."""
        return self.side(self.member, languages[0]), self.side(self.member, languages[1])

    def is_published_name(self, name: str) -> bool:
        """Whether a file of that name has the archive's markup; under another it is plain text."""
        return not self.member or name.split("/")[-1] == self.member.split("/")[-1]

    def side(self, name: str, language: str) -> str:
        """A name with the language filled in (WMT's sgm also say which side was translated)."""
        return name.format(language=language, role="src" if language == "de" else "ref")


Alternatives = tuple[tuple[Part, ...], ...]


@dataclass(frozen=True)
class Corpus:
    """A corpus; of the alternatives for a split the first that is there in full is used."""

    name: str
    title: str  # for people: what the report and the card call it
    licence: str
    train: Alternatives
    valid: Alternatives = ()
    test: Alternatives = ()
    folders: tuple[str, ...] = ()  # sub-folders of --raw-dir to look in as well

    def alternatives(self) -> dict[str, Alternatives]:
        """The splits that this corpus has."""
        splits = {"train": self.train, "valid": self.valid, "test": self.test}
        return {split: choice for split, choice in splits.items() if choice}


def _local(*stems: str, markup: str = "plain", note: str = "") -> Part:
    """A part that is only looked for in --raw-dir."""
    return Part(tuple(stem + ".{language}" for stem in stems), markup=markup, note=note)


def _member(archive: Remote, member: str, *stems: str, markup: str = "plain") -> Part:
    """A part in an archive; unpacked, it is found by its path or its bare name."""
    names = (member, member.rsplit("/", 1)[-1], *(stem + ".{language}" for stem in stems))
    return Part(names, archive=archive, member=member, markup=markup)


def _multi30k(name: str, stems: tuple[str, ...], de: str, en: str) -> Alternatives:
    base = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/"
    files = {"de": Remote(f"{base}{name}.de.gz", de), "en": Remote(f"{base}{name}.en.gz", en)}
    return ((Part(tuple(stem + ".{language}" for stem in (name, *stems)), files=files),),)


MULTI30K = Corpus(
    name="multi30k",
    title="Multi30k task 1",
    licence="Multi30k: for researchers and educators, non-commercial research and education only "
    "(Flickr30k terms; the repository has no licence file)",
    folders=("multi30k.de-en", "multi30k", "data/task1/raw"),
    train=_multi30k(
        "train",
        (),
        "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
        "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    ),
    valid=_multi30k(
        "val",
        ("valid",),
        "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
        "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    ),
    test=_multi30k(
        "test_2016_flickr",
        ("test2016", "test"),
        "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
        "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    ),
)

_IWSLT_LICENCE = (
    "IWSLT'14 (WIT3): TED Conference LLC, Creative Commons BY-NC-ND 3.0; do not publish the text"
)
_TALKS = Remote("https://wit3.fbk.eu/archive/2014-01/texts/de/en/de-en.tgz")
_IWSLT_FOLDERS = ("iwslt14.de-en", "iwslt14", "de-en", "orig")

IWSLT14 = Corpus(
    name="iwslt14",
    title="IWSLT'14",
    licence=_IWSLT_LICENCE,
    folders=_IWSLT_FOLDERS,
    train=((_member(_TALKS, "de-en/train.tags.de-en.{language}", markup="talks"),),),
    test=(
        tuple(
            _member(_TALKS, f"de-en/IWSLT14.{name}.de-en.{{language}}.xml", markup="segments")
            for name in ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
        ),
    ),
)
# Text without tags that was not yet tokenized: train (valid is taken from it) and test.
IWSLT14_TEXT = Corpus(
    name="iwslt14-text",
    title="IWSLT'14",
    licence=_IWSLT_LICENCE,
    folders=_IWSLT_FOLDERS,
    train=((_local("train"),),),
    test=((_local("test"),),),
)
# Tokenized (or BPE'd) text: the three splits as they are.
IWSLT14_SPLITS = Corpus(
    name="iwslt14-splits",
    title="IWSLT'14",
    licence=_IWSLT_LICENCE,
    folders=_IWSLT_FOLDERS,
    train=(
        (_local("train"),),
        (
            _local(
                "train-sub",
                note="train is a subset: 108,257 of the 160,239 pairs of IWSLT'14, 58 % of its BPE "
                "tokens, two thirds of it re-tokenized from IWSLT'16; compare no scores with "
                "published ones",
            ),
        ),
    ),
    valid=((_local("valid"),),),
    test=((_local("test"),),),
)

_WMT_LICENCE = (
    "WMT: Europarl without stated restriction; Common Crawl, News Commentary and newstest for "
    "research as WMT states"
)
_EUROPARL = Remote(
    "https://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz",
    "0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7",
)
_COMMONCRAWL = Remote(
    "https://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz",
    "c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5",
)
_NEWS_COMMENTARY = {
    9: Remote(
        "https://www.statmt.org/wmt14/training-parallel-nc-v9.tgz",
        "cb8953f292298e6877ae433c98912b927cb0766b303f4540512ddd286c748485",
    ),
    12: Remote(
        "https://data.statmt.org/wmt17/translation-task/training-parallel-nc-v12.tgz",
        "2b45f30ef1d550d302fd17dd3a5cbe19134ccc4c2cf50c2dae534aee600101a2",
    ),
}
# newstest2013 and newstest2014 (full, 3,003 lines) of one archive whose hash is published;
# fairseq takes them from wmt17's dev.tgz and wmt14's test-full.tgz.
_DEV = Remote(
    "https://data.statmt.org/wmt19/translation-task/dev.tgz",
    "7a7deccf82ebb05ba508dba5eb21356492224e8f630ec4f992132b029b4b25e7",
)
_HOW_NORMALISED = (
    "Moses tokens undone with sacremoses' detokenizer (escapes, @-@ and ##AT##-##AT## hyphens)"
)


def _wmt(name: str, commentary: int) -> Corpus:
    archive = _NEWS_COMMENTARY[commentary]
    news = f"training/news-commentary-v{commentary}.de-en.{{language}}"
    return Corpus(
        name=name,
        title=f"WMT'{name[3:]}",
        licence=_WMT_LICENCE,
        folders=("wmt.de-en", "wmt14", "orig"),
        train=(
            (
                _member(_EUROPARL, "training/europarl-v7.de-en.{language}"),
                _member(_COMMONCRAWL, "commoncrawl.de-en.{language}"),
                _member(archive, news),
            ),
            (_local("train"),),
            (
                _local("europarl-head20k", note="train is a sample of 50,000 pairs, not WMT"),
                _local(
                    "nc-v8-head20k.lc.tok",
                    markup="tokenized",
                    note=f"nc-v8-head20k: {_HOW_NORMALISED}; its lower-casing cannot be undone",
                ),
                _local(
                    "wmt15mix10k.tok",
                    markup="tokenized",
                    note=f"wmt15mix10k: {_HOW_NORMALISED}",
                ),
            ),
        ),
        valid=(
            (_member(_DEV, "dev/newstest2013.{language}", "valid"),),
            (
                _local(
                    "newstest2013.tok-atat",
                    markup="tokenized",
                    note=f"newstest2013: {_HOW_NORMALISED}",
                ),
            ),
        ),
        test=(
            (
                _member(
                    _DEV,
                    "dev/newstest2014-deen-{role}.{language}.sgm",
                    "newstest2014",
                    "test",
                    markup="segments",
                ),
            ),
        ),
    )


# LibreOffice's help: language -> the Debian package that holds its pages.
HELP = {"de": "libreoffice-help-de", "en": "libreoffice-help-en-us"}

CORPORA = {
    corpus.name: corpus
    for corpus in (
        MULTI30K,
        IWSLT14,
        IWSLT14_TEXT,
        IWSLT14_SPLITS,
        _wmt("wmt14", 9),
        _wmt("wmt17", 12),
    )
}
