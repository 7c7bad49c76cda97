"""Arrays that a stage makes, from what its completion record says."""

from collections.abc import Mapping

from l3ae_dist.storage.layout.kinds import Kind, made_by
from l3ae_dist.storage.layout.paths import (
    DatasetPaths,
    FactorPaths,
    RootPaths,
    SemanticPaths,
    SparseRowPaths,
    SpectralPaths,
    embeddings,
    gram,
)
from l3ae_dist.storage.layout.update_paths import UpdatePaths
from l3ae_dist.storage.stages import Stage


def folders_of_stage(stage: Stage, identifier: str, params: Mapping[str, object]) -> list[str]:
    """Return the folders, or arrays, in which all arrays of a stage are.

    Parameters
    ----------
    stage, identifier, params
        As in its completion record.
    """
    named = (params.get(name) for name in ("base", "path"))
    return [*made_by(stage, identifier), *(path for path in named if isinstance(path, str))]


def arrays_of_stage(stage: Stage, identifier: str, params: Mapping[str, object]) -> list[str]:
    """Return the arrays that a stage certainly made and that are never deleted while its record is there.

    It is what older versions, whose records name no arrays, can be held to.

    Parameters
    ----------
    stage, identifier, params
        As in its completion record.
    """
    base = str(params.get("base"))
    dataset = DatasetPaths(identifier)
    rows = (dataset.train_by_item, dataset.by_user("train"))
    words, roots = SparseRowPaths(Kind.WORDS.path(identifier)), RootPaths.of(identifier)
    semantic, spectral = SemanticPaths(base), SpectralPaths(base)
    update = UpdatePaths(base)
    return {
        Stage.INGEST: [path for one in rows for path in (one.indptr, one.indices)],
        Stage.WORDS: [words.indptr, words.indices],
        Stage.EMBED: [embeddings(identifier)],
        Stage.ROOTS: [roots.users, roots.items],
        Stage.GRAM: [gram(identifier)],
        Stage.CERTIFIED: [FactorPaths(base).inverse],
        Stage.SEMANTIC: [semantic.m, semantic.a, semantic.v],
        Stage.UPDATE: [update.left, update.right, update.diagonal],
        Stage.SPECTRAL: [spectral.left, spectral.right],
    }.get(stage, [])
