"""Columns of cells as text."""

import pandas as pd
from vc_contracts.text.plain import clean

from vc_data.text.values import is_nothing


def split_names(given: str | None, obs: pd.DataFrame) -> list[str]:
    """Names of columns that a comma joins; a name that holds a comma and exists stays whole."""
    if not given:
        return []
    return [given] if given in obs.columns else given.split(",")


def labels_of(obs: pd.DataFrame, perturbation: str, joint: str = "+") -> pd.Series:
    """[n] Label of every cell as text, '' for none; labels of several columns are joined."""
    columns = [as_text(obs[name]) for name in split_names(perturbation, obs)]
    if len(columns) == 1:
        return columns[0]
    rows = zip(*columns, strict=True)
    joined = [joint.join(part for part in row if not is_nothing(part)) for row in rows]
    return pd.Series(joined, index=obs.index, dtype=object)


def as_text(column: pd.Series) -> pd.Series:
    """[n] Values as text without blanks around them, '' for missing ones; bytes are decoded."""
    values = column.astype(object)
    meaning = {value: _unquoted(clean(value)) for value in values[values.notna()].unique()}
    return values.map(meaning).astype(object).where(values.notna(), "").astype(object)


def _unquoted(text: str) -> str:
    """Without the quotes that R and spreadsheets leave around a text."""
    return text[1:-1].strip() if len(text) > 2 and text[0] == text[-1] and text[0] in "'\"" else text


def distinct(column: pd.Series) -> list[str]:
    """Texts of a column without '', sorted."""
    return sorted(set(as_text(column)) - {""})
