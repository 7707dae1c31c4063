"""What the scripts can prepare: sources, file names, licences, hashes.

Sources and order are those of fairseq's own recipes (examples/translation/prepare-*.sh).
A `Part` is one piece of one split; the parts of a split are joined in the order given.
`{language}` in a name stands for de or en.
"""

from dataclasses import dataclass, field
from typing import Dict, Optional, Tuple


@dataclass(frozen=True)
class Remote:
    """A file to download; sha256 is None where nobody has published one (then it is recorded)."""

    url: str
    sha256: Optional[str] = None

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Part:
    """One text with a side per language."""

    names: Tuple[str, ...]  # local names to look for, without .gz or .xz, best first
    files: Dict[str, Remote] = field(default_factory=dict)  # language -> file to download
    archive: Optional[Remote] = None  # or: an archive to download
    member: str = ""  # and the file in it
    members: Dict[str, str] = field(default_factory=dict)  # where they differ by language
    markup: str = "plain"  # a reader of markup.py
    note: str = ""  # said in the data card when this part was used

    def member_for(self, language: str) -> str:
        return self.members.get(language, self.member.format(language=language))


@dataclass(frozen=True)
class Corpus:
    """All of a corpus; `train` lists alternatives, the first that is there in full is used."""

    name: str
    licence: str
    train: Tuple[Tuple[Part, ...], ...]
    valid: Tuple[Part, ...] = ()
    test: Tuple[Part, ...] = ()
    folders: Tuple[str, ...] = ()  # sub-folders of --raw-dir to look in as well

    def alternatives(self) -> Dict[str, Tuple[Tuple[Part, ...], ...]]:
        """Split -> alternatives -> parts."""
        return {"train": self.train, "valid": (self.valid,), "test": (self.test,)}


def _multi30k(split: str, name: str, *sha256: str) -> Part:
    base = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/"
    files = {lang: Remote(f"{base}{name}.{lang}.gz", sha) for lang, sha in zip(("de", "en"), sha256)}
    plain = {"valid": ("val", "valid"), "test": ("test_2016_flickr", "test2016", "test")}
    stems = plain.get(split, (split,))
    return Part(tuple(f"{stem}.{{language}}" for stem in stems), files=files)


MULTI30K = Corpus(
    name="multi30k",
    licence="Multi30k: for researchers and educators, non-commercial research and education only "
    "(Flickr30k terms; the repository has no licence file)",
    folders=("multi30k.de-en", "multi30k", "data/task1/raw"),
    train=(
        (
            _multi30k(
                "train",
                "train",
                "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
                "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
            ),
        ),
    ),
    valid=(
        _multi30k(
            "valid",
            "val",
            "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
            "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
        ),
    ),
    test=(
        _multi30k(
            "test",
            "test_2016_flickr",
            "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
            "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
        ),
    ),
)

CORPORA = {corpus.name: corpus for corpus in (MULTI30K,)}
