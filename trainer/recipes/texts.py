"""Brand safety on text: 20 Newsgroups posts whose group's topic is sensitive, split by date."""

from __future__ import annotations

import numpy as np

from trainer.errors import InputError
from trainer.examples import of_texts
from trainer.fetch import fetch_all
from trainer.newsgroups import HEADER, TEST, TRAIN, parse_posts
from trainer.package_index import FetchError
from trainer.recipes.sources import Loaded
from trainer.spec.spec import Spec


def load_newsgroups(spec: Spec) -> Loaded:
    """All 18,821 posts; the later 7,528 are held out, the last part of the others is core.

    Raises:
        InputError: they are not cached and cannot be fetched.
    """
    try:
        paths = fetch_all((TRAIN, TEST))
    except FetchError as error:
        raise InputError(str(error)) from error
    files = [path.read_text("utf-8") for path in paths]
    (train, y), (test, later) = (parse_posts(text) for text in files)
    groups = [
        line.partition("\t")[0]
        for text in files
        for line in text.removesuffix("\n").split("\n")[len(HEADER) :]
    ]
    n = len(train)
    random = np.random.default_rng(spec.seed)
    core = random.permutation(n)[: round(n * spec.data.core_share)]
    given = np.full(len(groups), 2, np.int64)
    given[:n] = 0
    given[core] = 1
    return Loaded(
        of_texts(
            [*train, *test],
            np.concatenate([y, later]).astype(np.float64),
            ids=[f"post-{i}" for i in range(len(groups))],
            slices={"GROUP": groups},
        ),
        given=given,
    )
