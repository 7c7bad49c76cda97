"""Item text as multi-hot words: which words an item's text has, as sparse rows.

dask_ml's vectorisers work through the catalog part by part; a word counts as rare by the number of texts
of the *whole* catalog that have it, as with scikit-learn.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from l3ae_dist.config.data import WordsConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.row_writer import RowWriter
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

_TEXTS = 8192


def words_id(dataset: str, options: WordsConfig) -> str:
    """Name the words of a dataset under these options."""
    return layout.words_id(fingerprint([dataset, options.model_dump()]))


def make_words(dataset: Dataset, options: WordsConfig, workspace: Workspace) -> str:
    """Store the words of every item as compressed rows, and return their id.

    Parameters
    ----------
    dataset
        The items and their texts.
    options
        How texts are cut into words, and which count.
    workspace
        Where to.

    Raises
    ------
    DataError
        Without text, or when no word is left.

    Notes
    -----
    Two passes over the text, 8,192 texts at a time; the vocabulary is held in memory.
    """
    identifier = words_id(dataset.id, options)
    if workspace.stage_done(Stage.WORDS, identifier) is not None:
        return identifier
    dataset.require_text()
    blocks, keep = (_counted if options.vectorizer == "count" else _hashed)(dataset, options)
    with workspace.scratch_dir() as scratch:
        writer = RowWriter(scratch, "words", weighted=False)
        for block in blocks:
            rows = block.tocsr()[:, keep]
            rows.sort_indices()
            writer.append(np.diff(rows.indptr), rows.indices, rows.data)
        if not writer.nnz:
            raise DataError("no word is left in the items' texts; lower words.min_df.")
        writer.store(workspace, layout.SparseRowPaths(layout.features(identifier)))
    stats = {"rows": dataset.n_items, "dim": int(keep.sum()), "nnz": writer.nnz}
    workspace.mark_stage(Stage.WORDS, identifier, options.model_dump(), stats)
    return identifier


Blocks = Iterator[sparse.csr_matrix]


def words_of(texts: list[str], identifier: str, dataset: Dataset) -> sparse.csr_matrix:
    """Return the words of other texts in the columns of stored words.

    Counted words are learnt from the catalog again: two passes over its text.

    Parameters
    ----------
    texts
        Of new items.
    identifier
        Id of the stored words.
    dataset
        The catalog.

    Returns
    -------
    (texts, d) float64.
    """
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer

    options = WordsConfig(**dataset.workspace.require_stage(Stage.WORDS, identifier).params)
    common: dict[str, object] = {"binary": True, "ngram_range": options.ngram_range}
    if options.vectorizer == "hashing":
        hashing = {"n_features": options.n_features, "norm": None, "alternate_sign": False}
        return HashingVectorizer(**hashing, **common).transform(texts).tocsr().astype(np.float64)
    vocabulary, _, keep = _vocabulary(dataset, options)
    found = CountVectorizer(vocabulary=vocabulary, **common).transform(texts)
    return found.tocsr()[:, keep].astype(np.float64)


def _counted(dataset: Dataset, options: WordsConfig) -> tuple[Blocks, Array]:
    """Sparse blocks of the words of the catalog, and which words are in enough texts."""
    _, matrix, keep = _vocabulary(dataset, options)
    return _computed(matrix), keep


def _vocabulary(dataset: Dataset, options: WordsConfig) -> tuple[Any, Any, Array]:
    """Column of each word, the Dask matrix of the catalog, and which words are in enough texts."""
    from dask_ml.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(binary=True, ngram_range=options.ngram_range)
    with _in_this_process():
        matrix = vectorizer.fit_transform(_bag(dataset))
    width = len(vectorizer.vocabulary_)
    frequency = np.zeros(width, np.int64)
    for block in _computed(matrix):
        frequency += np.bincount(block.indices, minlength=width)
    return vectorizer.vocabulary_, matrix, frequency >= options.min_df


def _hashed(dataset: Dataset, options: WordsConfig) -> tuple[Blocks, Array]:
    from dask_ml.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        n_features=options.n_features,
        binary=True,
        norm=None,
        alternate_sign=False,
        ngram_range=options.ngram_range,
    )
    return _computed(vectorizer.transform(_bag(dataset))), np.ones(options.n_features, bool)


def _bag(dataset: Dataset) -> Any:
    """The texts as a Dask bag that reads its own part."""
    import dask.bag as db
    from dask import delayed

    starts = range(0, dataset.n_items, _TEXTS)
    parts = [delayed(dataset.texts)(start, min(start + _TEXTS, dataset.n_items)) for start in starts]
    return db.from_delayed(parts)


def _computed(matrix: Any) -> Blocks:
    """The sparse blocks of a Dask matrix, one after the other."""
    for block in matrix.to_delayed()[:, 0]:
        with _in_this_process():
            yield block.compute()


def _in_this_process() -> Any:
    """Bags go to a pool of processes by themselves, which costs more than vectorising."""
    import dask

    return dask.config.set(scheduler="synchronous")
