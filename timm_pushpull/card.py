"""The model card: everything a reader of a released model wants to know, from its results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from timm_pushpull import metrics
from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.paper import published
from timm_pushpull.results import Results

#: How a card inside a run folder loads its model; publishing puts the repository's id in its place.
HERE = "local-dir:."

CITATION = """\
@inproceedings{bennabhaktula2024pushpull,
  title     = {PushPull-Net: Inhibition-driven ResNet robust to image corruptions},
  author    = {Bennabhaktula, Guru Swaroop and Alegre, Enrique and Strisciuglio, Nicola and Azzopardi, George},
  booktitle = {International Conference on Pattern Recognition (ICPR)},
  year      = {2024}
}"""


def model_card(
    results: Results,
    *,
    title: str,
    recipe: Mapping[str, Any],
    avg_size: int | None,
    parameters: int,
    training: str,
    departures: Sequence[str] = (),
    baseline: Results | None = None,
) -> str:
    """The card as Markdown with the Hub's metadata block.

    Args:
        results: What was measured of this model.
        title: The model's name with its tag.
        recipe: Settings it was trained with.
        avg_size: Pooling of the push-pull stem; None for a plain network.
        parameters: Number of parameters.
        training: Data, time and hardware of the training, in words.
        departures: What was done otherwise than in the recipe, such as `epochs is 5, not 30`.
        baseline: What was measured of the plain network on the same images.
    """
    return f"""---
{_metadata(results, title).to_yaml()}
---

# Model card for {title}

{_introduction(results, avg_size)}

## Load it

```python
import timm
import timm_pushpull  # registers the architecture: pip install timm-pushpull

model = timm.create_model("{HERE}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
logits = model(transform(image).unsqueeze(0))  # image: PIL, RGB
```

## Robustness

{_summary(results, baseline)}

{_error_table(results, baseline)}

{_legend(results, baseline)}{_caveats(results)}
{_beside_the_paper(results, baseline, departures)}
## Data and training

{training}{_departures(departures)}

| setting | value |
|---|---|
{chr(10).join(f"| {name} | {_cell(value)} |" for name, value in recipe.items() if value not in (None, {}))}

## Provenance

| | |
|---|---|
| parameters | {parameters:,} |
| weights (SHA-256) | `{results.weights_sha256}` |
| command | `{results.command}` |
| timm-pushpull commit | {f"`{results.commit}`" if results.commit else "an installed release"} |
| hardware of the measurement | {results.hardware}, {results.precision} |
| versions | {", ".join(f"{name} {number}" for name, number in results.versions.items())} |

`results.json` holds these numbers in full, `recipe.yaml` the settings, `log.csv` the training curve.

## Limits

- It classifies images like those of its training set into its {recipe.get("num_classes", "")} classes; nothing else was
  tested. Robustness to common corruptions says nothing about adversarial examples or other changes of domain.
- One training run, one seed ({recipe.get("seed", "not recorded")}): differences of a few percent between variants can
  be chance.
- The weights are under Apache-2.0; the data set has its own terms.

## Citation

```bibtex
{CITATION}
```
"""


def _metadata(results: Results, title: str) -> ModelCardData:
    def entry(metric: str, name: str, value: float, config: str | None = None) -> EvalResult:
        # The corruption and its severity go into the configuration: the Hub groups results by it, not by arguments.
        return EvalResult(
            task_type="image-classification",
            task_name="Image classification",
            dataset_type=results.dataset,
            dataset_name=f"{results.dataset}, {config}" if config else results.dataset,
            dataset_config=config,
            dataset_split=results.split,
            metric_type=metric,
            metric_name=name,
            metric_value=round(value, 6),
        )

    entries = [entry("error", "Top-1 error", results.clean_error)]
    if results.errors and not results.partial:
        entries.append(entry("mce", "mean corruption error (absolute)", results.mce, results.preset))
    entries += [
        entry("error", "Top-1 error", error, f"{corruption}-{severity}")
        for corruption, row in results.errors.items()
        for severity, error in enumerate(row, start=1)
        if error is not None
    ]
    return ModelCardData(
        language=None,
        license="apache-2.0",
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["image-classification", "timm", "timm-pushpull", "robustness", "common-corruptions"],
        datasets=[results.dataset],
        model_name=title,
        eval_results=entries,
    )


def _introduction(results: Results, avg_size: int | None) -> str:
    if avg_size is None:
        return (
            f"`{results.model}`, a plain image classifier trained on `{results.dataset}`: the baseline that "
            f"push-pull networks are compared with."
        )
    pooling = f"average-pooled over {avg_size}x{avg_size} positions" if avg_size else "without pooling"
    return (
        f"`{results.model}`, an image classifier trained on `{results.dataset}`, whose first convolution is a "
        f"push-pull unit: from the rectified response of every filter it subtracts, with a learned strength, the "
        f"rectified response of the filter's complement ({pooling}). The unit imitates antiphase inhibition in the "
        f"visual cortex; in the paper it makes networks more robust to image corruptions "
        f"(Bennabhaktula et al., PushPull-Net, ICPR 2024). What it did here is in the tables below."
    )


def _summary(results: Results, baseline: Results | None) -> str:
    columns = {"clean error": f"{results.clean_error:.2%}"}
    other = {"clean error": f"{baseline.clean_error:.2%}"} if baseline else {}
    if results.errors:
        columns["mCE"] = f"{results.mce:.2%}"
    if baseline and results.errors:
        relative = results.relative_to(baseline)
        other["mCE"] = f"{baseline.mce:.2%}"
        columns["mrCE"], other["mrCE"] = f"{relative[1]:.3f}" if relative else "-", "1.000"
    lines = [
        f"| model | {' | '.join(columns)} |",
        f"|---|{'---:|' * len(columns)}",
        f"| **{results.model}** | {' | '.join(columns.values())} |",
    ]
    if baseline:
        lines.append(f"| {baseline.model} (baseline) | {' | '.join(other.values())} |")
    return "\n".join(lines)


def _error_table(results: Results, baseline: Results | None) -> str:
    lines = [
        "| corruption | 1 | 2 | 3 | 4 | 5 | mean |" + (" baseline | relative |" if baseline else ""),
        "|---|" + "---:|" * (8 if baseline else 6),
    ]
    relative = results.relative_to(baseline) if baseline else None
    for corruption, row in results.errors.items():
        cells = ["-" if error is None else f"{100 * error:.1f}" for error in row]
        cells.append(f"{100 * metrics.mean_error(row):.1f}")
        if baseline:
            cells.append(f"{100 * metrics.mean_error(baseline.errors[corruption]):.1f}")
            cells.append(f"{relative[0][corruption]:.2f}" if relative else "-")
        lines.append(f"| {corruption} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _legend(results: Results, baseline: Results | None) -> str:
    through = f", through JPEG files of quality {results.jpeg_quality}" if results.jpeg_quality else ""
    text = (
        f"Top-1 errors in percent on {results.num_images:,} images of `{results.dataset}`, split `{results.split}`, "
        f"at severities 1 to 5, corrupted on the fly with the constants of preset `{results.preset}`, seed "
        f"{results.seed}{through}. mCE is the mean over corruptions (paper, Eq. 9)."
    )
    if baseline and results.relative_to(baseline):
        text += (
            " A relative error is the sum of errors over the baseline's, mrCE their mean (Eq. 10): below 1 this "
            "network is the more robust one."
        )
    elif baseline:
        text += " Relative errors are not defined here: the baseline makes no error under some corruption."
    return text


def _caveats(results: Results) -> str:
    missing = [corruption for corruption in CORRUPTIONS if corruption not in results.errors]
    frost = ""
    if results.frost not in (None, "original"):
        frost = (
            f"\n\n**Frost** was {results.frost}: the original textures were not at hand, so mCE and mrCE compare with "
            f"results that say the same only."
        )
    if not results.partial:
        return frost
    return frost + (
        "\n\n**Partial**: mCE and mrCE here are means over what was measured and cannot be compared with published "
        f"ones. Not measured: {', '.join(missing) or 'some severities'}."
    )


def _departures(departures: Sequence[str]) -> str:
    return f"\n\n**Not the recipe as it stands**: {'; '.join(departures)}." if departures else ""


def _beside_the_paper(results: Results, baseline: Results | None, departures: Sequence[str]) -> str:
    """A section with the paper's figures for this network; empty where it has none or these are no full benchmark."""
    row = published(results.model, results.dataset)
    if row is None or results.partial:
        return ""
    relative = results.relative_to(baseline) if baseline else None
    mrce = f"{relative[1]:.3f}" if relative else "1.000" if baseline is None and row.is_baseline else "-"
    reasons = [
        "the paper measures on the published files of the corrupted set, this card on images that this package "
        "corrupted with the same constants",
        *(f"in this training, {departure}" for departure in departures),
        "one seed here",
    ]
    return f"""
## Beside the paper

| | clean error | mCE | mrCE |
|---|---:|---:|---:|
| this model | {results.clean_error:.1%} | {results.mce:.2%} | {mrce} |
| paper, Table 1: {row.label} | {row.clean_error:.1%} | {row.mce:.2%} | {row.mrce:.3f} |

What differs: {"; ".join(reasons)}.
"""


def _cell(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
