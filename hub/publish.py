"""Upload a run folder to the Hugging Face Hub, in one commit.

python hub/publish.py runs/digits/resnet18_cifar_pushpull --repo-id me/resnet18_cifar_pushpull.digits --dry-run
hf auth login   # or HF_TOKEN=...
python hub/publish.py runs/digits/resnet18_cifar_pushpull --repo-id me/resnet18_cifar_pushpull.digits
"""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, ModelCard, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError, safe_open

from timm_pushpull import cli
from timm_pushpull.card import HERE
from timm_pushpull.errors import InputError, one_line
from timm_pushpull.results import Results
from timm_pushpull.weights import CONFIG, WEIGHTS

REQUIRED = (WEIGHTS, CONFIG, "README.md", "results.json", "recipe.yaml")
OPTIONAL = ("log.csv", "LICENSE")

_STATUS = {
    401: "the Hub does not accept the token; run `hf auth login` again or mend HF_TOKEN",
    403: "the token may not write there; use a token with write access and a namespace of yours",
    404: "the Hub does not know this namespace or repository",
}


def main() -> None:
    parser = cli.Parser(prog="publish.py", description="Upload a run folder to the Hugging Face Hub, in one commit.")
    parser.add_argument("folder", type=Path, help="run folder, as train/train.py writes it")
    parser.add_argument("--repo-id", required=True, metavar="NAMESPACE/NAME", help="repository to create or update")
    parser.add_argument("--private", action="store_true", help="create the repository as a private one")
    parser.add_argument("--dry-run", action="store_true", help="list what would be uploaded; needs no network")
    options = parser.parse_args()

    check_repo_id(options.repo_id)
    operations = collect(options.folder, options.repo_id)
    for operation in operations:
        print(f"{operation.upload_info.size:>12,} bytes  {operation.path_in_repo}")
    if options.dry_run:
        print(f"dry run: nothing was uploaded to {options.repo_id}")
        return
    print(upload(operations, options.repo_id, options.private))


def check_repo_id(repo_id: str) -> None:
    """Raise InputError unless it is NAMESPACE/NAME in the Hub's spelling."""
    try:
        validate_repo_id(repo_id)
        valid = repo_id.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise InputError(f"repository id {repo_id!r} is not NAMESPACE/NAME (letters, digits, '-', '_', '.')")


def collect(folder: Path, repo_id: str) -> list[CommitOperationAdd]:
    """The files of a run folder as one commit's additions; the card's snippet then loads from the repository.

    Raises:
        InputError: A file is missing or cannot be read as what it is.
    """
    missing = [name for name in REQUIRED if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{str(folder)!r} is no finished run: it lacks {', '.join(missing)}")
    try:
        with safe_open(folder / WEIGHTS, framework="numpy") as weights:
            weights.keys()
        json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        card = (folder / "README.md").read_text(encoding="utf-8")
        ModelCard(card)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{str(folder)!r} holds a damaged file: {error}") from error
    Results.load(folder)
    names = [name for name in (*REQUIRED, *OPTIONAL) if (folder / name).is_file()]
    content = {"README.md": card.replace(f'"{HERE}"', f'"hf-hub:{repo_id}"').encode()}
    return [CommitOperationAdd(name, content.get(name, str(folder / name))) for name in names]


def upload(operations: list[CommitOperationAdd], repo_id: str, private: bool) -> str:
    """Create the repository where it does not exist, and commit; returns the commit's address.

    Raises:
        InputError: No token, no network, or the Hub refuses.
    """
    token = get_token()
    if token is None:
        raise InputError("there is no Hub token; run `hf auth login` or set HF_TOKEN")
    api = HfApi(token=token, library_name="timm-pushpull")
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        message = f"Upload {repo_id.split('/')[1]} with timm-pushpull"
        return api.create_commit(repo_id, operations, commit_message=message).commit_url
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        reason = _STATUS.get(status) or error.server_message or f"the Hub answered with status {status}"
        raise InputError(f"cannot publish {repo_id}: {reason}") from error
    except Exception as error:  # no route, no name, a time-out: the client's transport has its own classes
        raise InputError(
            f"cannot publish {repo_id}: {constants.ENDPOINT} is out of reach ({one_line(error)})"
        ) from error


if __name__ == "__main__":
    cli.run(main, "publish.py")
