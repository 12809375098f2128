"""Free text as a few numbers, and a regressor that ignores columns of text which do not help."""

from typing import Any, Self

import numpy as np
import pandas as pd
import sklearn
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from threadpoolctl import threadpool_limits

from signoff.features.prose import UNSEPARATED
from signoff.model.records import Setting
from signoff.model.regressor import estimators
from signoff.model.weights import fit_weighted

# A word, or a character of a script that does not separate them.
_WORD = rf"[{UNSEPARATED}]|[^\W{UNSEPARATED}]+"
_BUCKETS = 2**18
# What is learnt from: this many texts, spread evenly over all, and the most frequent words and pairs of words that
# occur in at least two of them. This keeps the memory small, and the model's file.
_MOST_TEXTS, _MOST_TERMS, _FEWEST_TEXTS = 30_000, 5_000, 2
# The beginning of a longer text says enough. So many texts are counted at once.
_MOST_CHARACTERS, _TEXTS_AT_ONCE = 2_000, 5_000
_COMPONENTS = 30
# A smaller component, relative to the first, is rounding error. Scaled, it would be huge for other texts.
_SMALLEST = 1e-6


class TextEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no type hints
    """Turns a column of text into its length and `components` numbers.

    Words and pairs of words are counted by their hashes, weighted by TF-IDF, and reduced by a truncated singular value
    decomposition (Deerwester, Dumais, Furnas, Landauer, Harshman 1990, Indexing by Latent Semantic Analysis, Journal of
    the American Society for Information Science 41). A missing text is an empty one, and an unknown word counts for
    nothing. Each text is encoded by itself, so it does not matter which others come with it.

    Parameters
    ----------
    components
        The most numbers besides the length; few texts give fewer.
    random_state
        The seed of the decomposition.
    """

    def __init__(self, components: int = _COMPONENTS, random_state: int = 0):
        self.components = components
        self.random_state = random_state

    def fit(self, texts: pd.DataFrame, target: object = None) -> Self:
        """Learn from n texts, the only column of a frame, some of which may be missing."""
        known = _texts(texts)
        known = known[known != ""]
        some = known[np.linspace(0, max(len(known) - 1, 0), min(len(known), _MOST_TEXTS)).astype("int64")]
        self.count_ = HashingVectorizer(
            n_features=_BUCKETS,
            alternate_sign=False,
            norm=None,
            lowercase=False,
            ngram_range=(1, 2),
            token_pattern=_WORD,
        )
        # Without any text, this counts one empty one.
        counts = self.count_.transform(some if len(some) else [""])
        texts_with = np.bincount(counts.indices, minlength=_BUCKETS)
        most = np.argsort(-texts_with, kind="stable")[:_MOST_TERMS]
        self.terms_ = np.sort(most[texts_with[most] >= _FEWEST_TEXTS])
        self.size_ = min(self.components, len(self.terms_), len(some))
        if self.size_:
            # Sums in linear algebra depend on how many threads share them.
            with threadpool_limits({"blas": 1}):
                self.weigh_ = TfidfTransformer(sublinear_tf=True)
                weighted = self.weigh_.fit_transform(counts[:, self.terms_])
                self.reduce_ = TruncatedSVD(self.size_, random_state=self.random_state).fit(weighted)
            self.size_ = int((self.reduce_.singular_values_ > _SMALLEST * self.reduce_.singular_values_[0]).sum())
        return self

    def transform(self, texts: pd.DataFrame) -> np.ndarray:
        """Return n × (1 + components) numbers (float64): the length in characters, and the components."""
        codes, distinct = pd.factorize(_texts(texts))
        found = np.zeros((len(distinct), 1 + self.size_))
        found[:, 0] = [len(each) for each in distinct]
        for first in range(0, len(distinct) if self.size_ else 0, _TEXTS_AT_ONCE):
            part = slice(first, first + _TEXTS_AT_ONCE)
            weighted = self.weigh_.transform(self.count_.transform(distinct[part])[:, self.terms_])
            found[part, 1:] = self.reduce_.transform(weighted)[:, : self.size_]
        encoded: np.ndarray = found[codes]
        return encoded

    def get_feature_names_out(self, names: Any = None) -> np.ndarray:
        """Return the names of the numbers."""
        (name,) = ["text"] if names is None else names
        ends = ["length", *range(1, 1 + self.size_)]
        return np.array([f"{name}_{each}" for each in ends], dtype="object")


def _texts(frame: pd.DataFrame) -> np.ndarray:
    """Return n texts in lower case and of limited length; missing ones are empty."""
    shortened = frame.iloc[:, 0].astype("str").str.slice(0, _MOST_CHARACTERS).str.lower()
    texts: np.ndarray = shortened.fillna("").to_numpy(dtype="object")
    return texts


class IgnoringText(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no type hints
    """A regressor that does not get some columns of text, because they do not lower its error.

    Parameters
    ----------
    columns
        The names of the columns to ignore.
    regressor
        Learns from the others.
    """

    def __init__(self, columns: list[str], regressor: Any):
        self.columns = columns
        self.regressor = regressor

    def fit(self, features: pd.DataFrame, target: pd.Series, sample_weight: np.ndarray | None = None) -> Self:
        # Weights are handed on here, not by scikit-learn's routing.
        with sklearn.config_context(enable_metadata_routing=False):
            others = features.drop(columns=self.columns)
            self.regressor_ = fit_weighted(clone(self.regressor), others, target, sample_weight)
        return self

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        predicted: np.ndarray = self.regressor_.predict(features.drop(columns=self.columns))
        return predicted


def ignoring(setting: Setting, columns: list[str]) -> Setting:
    """Return a setting that ignores columns of text; itself if there are none."""
    if not columns:
        return setting
    params = {"columns": list(columns), "regressor": dict(setting)}
    return {"estimator": "signoff.model.text.IgnoringText", "params": params}


def text_features(model: Any, kinds: dict[str, str]) -> dict[str, int]:
    """Return for each column of text how many numbers a fitted model makes of it; 0 if it ignores the column."""
    found = {name: 0 for name, kind in kinds.items() if kind == "text"}
    for each in estimators(model):
        # Within an estimator, those that are not fitted are templates.
        for _, encoder, columns in getattr(each, "transformers_", []) if isinstance(each, ColumnTransformer) else []:
            for inner in estimators(encoder):
                if isinstance(inner, TextEncoder):
                    found[columns[0]] = max(found[columns[0]], 1 + inner.size_)
    return found
