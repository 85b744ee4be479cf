"""Publish releases or run folders on the Hugging Face Hub, verified before and after.

examples:
  python hub/publish.py runs/digits/resnet18_cifar_pushpull --namespace me --dry-run
  hf auth login   # or HF_TOKEN=...
  # writes me/resnet18_cifar_pushpull.digits
  python hub/publish.py runs/digits/resnet18_cifar_pushpull --namespace me
  python hub/publish.py --all --namespace timm-pushpull --collection "PushPull-Net"
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.util import find_spec
from pathlib import Path

from timm_pushpull import cli
from timm_pushpull.hub import Release, check_access, check_repo_id, prepare_upload, publish, verify
from timm_pushpull.hub.card import HERE
from timm_pushpull.models import RELEASES
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.files import make_folder
from timm_pushpull.utils.text import printable

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = cli.Parser(prog="publish.py", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help="release or run folder")
    parser.add_argument("--all", action="store_true", help="all releases in hub/releases")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--namespace", metavar="NS", help="user or organisation; repositories get the names of releases")
    where.add_argument("--repo-id", metavar="NS/NAME", help="repository, for a single folder")
    parser.add_argument("--tag", help="part of the model's name after the dot, for a single run (default: the run's)")
    parser.add_argument("--private", action="store_true", help="create the repository as private")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request instead of committing to main")
    parser.add_argument(
        "--collection",
        metavar="NAME",
        help="collection to add the model to: its slug, or the title of a new one (default: none)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="verify, list the files, upload nothing; needs no network"
    )
    parser.add_argument("--endpoint", metavar="URL", help="URL of the Hub (default: $HF_ENDPOINT, or the public Hub)")
    options = parser.parse_args()

    if missing := [name for name in ("matplotlib", "transformers") if find_spec(name) is None]:
        raise InputError(f"publishing needs {' and '.join(missing)}: pip install 'timm-pushpull[hub]'")
    if options.all == bool(options.folders):
        raise InputError("give folders, or --all for all releases" if not options.all else "--all takes no folders")
    folders = sorted(RELEASES.glob("[!.]*")) if options.all else options.folders
    if not folders:
        raise InputError(f"there are no releases in {str(RELEASES)!r}; run --all in a clone of the repository")
    if options.repo_id and len(folders) != 1:
        raise InputError(f"--repo-id {options.repo_id} is for one folder, not for {len(folders)}; use --namespace")
    if options.create_pr and options.collection:
        raise InputError("--collection is for what is on main; leave it out with --create-pr")
    if options.tag and len(folders) != 1:
        raise InputError(f"--tag {options.tag} is for one run, not for {len(folders)}")
    publish_folders(folders, options)


def publish_folders(folders: list[Path], options: argparse.Namespace) -> None:
    """Verify these folders, then publish them."""
    releases = [Release.load(folder, options.tag) for folder in folders]
    if options.tag and HERE not in releases[0].card:
        raise InputError(f"--tag is for runs, and {str(folders[0])!r} is a release; make it anew with stage.py --tag")
    ids = [check_repo_id(options.repo_id or f"{options.namespace}/{release.name}") for release in releases]
    for number, repo_id in enumerate(ids):
        if repo_id in ids[:number]:
            first = str(folders[ids.index(repo_id)])
            raise InputError(f"{first!r} and {str(folders[number])!r} are both {repo_id}; publish one of them")
    if not options.dry_run:
        check_access(
            ids,
            private=options.private,
            create_pr=options.create_pr,
            collection=options.collection,
            endpoint=options.endpoint,
        )
    with tempfile.TemporaryDirectory() as folder:
        uploads = []
        for number, (release, repo_id) in enumerate(zip(releases, ids, strict=True)):
            print(f"verifying {release.name}")
            for line in verify(release):
                print(f"  {line}")
            upload = make_folder(Path(folder) / str(number))
            uploads.append(prepare_upload(release, upload, ROOT / "LICENSE", repo_id))
        # Nothing is uploaded before all have passed.
        for release, repo_id in zip(uploads, ids, strict=True):
            send(release, repo_id, options)


def send(release: Release, repo_id: str, options: argparse.Namespace) -> None:
    """Publish one release, or list what would be uploaded."""
    if options.dry_run:
        for name in release.files:
            print(f"{(release.path / name).stat().st_size:>12,} bytes  {name}")
        print(f"dry run: nothing was uploaded to {repo_id}")
        return
    done = publish(
        release,
        repo_id,
        private=options.private,
        create_pr=options.create_pr,
        collection=options.collection,
        endpoint=options.endpoint,
    )
    print(printable(done.url if done.tag is None else f"{repo_id}@{done.tag}: {done.url}"))


if __name__ == "__main__":
    cli.run(main, "publish.py")
