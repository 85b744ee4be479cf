# %% [markdown]
# # Read a card's results from its metadata
#
# Every error that was measured stands in the card's metadata, as fractions. `huggingface_hub` reads it, here from a
# clone of the repository, and from the Hub with `ModelCard.load("timm-pushpull/resnet18_cifar_pushpull.cifar10")`.

# %%
from huggingface_hub import ModelCard

from timm_pushpull import metrics
from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.models import RELEASES


def read_errors(name):
    """The errors of a card: `(None, "error")` is the clean one, `("fog-3", "error")` that of fog at severity 3."""
    results = ModelCard.load(RELEASES / name / "README.md").data.eval_results
    return {(result.dataset_config, result.metric_type): result.metric_value for result in results}


plain, pushpull = (read_errors(f"{name}.cifar10") for name in ("resnet18_cifar", "resnet18_cifar_pushpull"))
print(f"clean error {100 * pushpull[None, 'error']:.1f} %, plain network {100 * plain[None, 'error']:.1f} %")
print(f"fog at severity 3: {100 * pushpull['fog-3', 'error']:.1f} %, {100 * plain['fog-3', 'error']:.1f} %")

# %% [markdown]
# All that the benchmark prints follows from these numbers.

# %%
tables = [
    {name: [card[f"{name}-{severity}", "error"] for severity in range(1, 6)] for name in CORRUPTIONS}
    for card in (pushpull, plain)
]
print(f"mCE {100 * metrics.mean_corruption_error(tables[0]):.1f} %")
print(f"mrCE {100 * metrics.mean_relative_corruption_error(*tables):.1f} %, where 100 % is the plain network")
