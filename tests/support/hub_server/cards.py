"""Front matter of README.md, read as strictly as the Hub does."""

from __future__ import annotations

import re

import yaml


class _Loader(yaml.SafeLoader):
    """The Hub's YAML parser refuses keys given twice; PyYAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(problem=f"duplicated mapping key {key!r}")
        return super().construct_mapping(node, deep)


def front_matter(card: str) -> object:
    """None if there is none; ValueError if it is not YAML."""
    match = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n?---[ \t]*(\r?\n|$)", card, re.DOTALL)
    if not match:
        return None
    try:
        return yaml.load(match[1], _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"bad YAML: {error}") from error


def errors(card: str) -> list[str]:
    """Why the Hub would not take this card."""
    try:
        data = front_matter(card)
    except ValueError as error:
        return [str(error)]
    if data is None:
        return []
    if not isinstance(data, dict):
        return ["metadata must be a mapping"]
    found = [f'"{key}" must be a string' for key in ("license", "pipeline_tag") if not _is(data.get(key), str, list)]
    found += [f'"{key}" must be an array' for key in ("tags", "datasets") if not _is(data.get(key), str, list)]
    index = data.get("model-index")
    if not _is(index, list):
        return [*found, '"model-index" must be an array']
    for number, model in enumerate(index or []):
        where = f"model-index[{number}]"
        if not isinstance(model, dict) or not isinstance(model.get("name"), str):
            found.append(f'"{where}.name" is required')
        elif not isinstance(model.get("results"), list):
            found.append(f'"{where}.results" must be an array')
        else:
            found += [e for n, r in enumerate(model["results"]) for e in _result_errors(r, f"{where}.results[{n}]")]
    return found


def _result_errors(result: object, where: str) -> list[str]:
    if not isinstance(result, dict):
        return [f'"{where}" must be a mapping']
    needed = [("task", "type"), ("dataset", "type"), ("dataset", "name")]
    found = [f'"{where}.{a}.{b}" is required' for a, b in needed if not (result.get(a) or {}).get(b)]
    for number, metric in enumerate(result.get("metrics") or []):
        found += [f'"{where}.metrics[{number}].{key}" is required' for key in ("type", "value") if key not in metric]
    return found if result.get("metrics") else [*found, f'"{where}.metrics" is required']


def _is(value: object, *types: type) -> bool:
    return value is None or isinstance(value, types)
