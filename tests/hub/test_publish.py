"""Publishing with the real client to a Hub on loopback: whole or not at all, whatever goes wrong on the way."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import timm
import torch
from huggingface_hub import HfApi

import publish as script
from support.example_publish import FILES, REPO
from support.example_run import SMALL, write_run
from support.hub_server import TOKEN
from support.processes import assert_one_clear_line
from timm_pushpull import InputError
from timm_pushpull.hub import Release, publish, publishing


@pytest.fixture
def fast(monkeypatch) -> None:
    """The client waits between its tries; five seconds are enough to know that it does."""
    import time

    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))


def again(release: Release) -> Release:
    """The same release with another recipe: a newer version."""
    recipe = release.path / "recipe.yaml"
    recipe.write_text(recipe.read_text() + "# once more\n")
    return Release.load(release.path)


def quietly(release: Release, **options):
    return publish(release, REPO, **{"log": lambda line: None, **options})


def test_a_run_becomes_a_public_page_and_comes_back_the_same(finished, hub, run_inside, tmp_path):
    process = run_inside(script.main, "publish.py", finished, "--namespace", "me", "--private")
    assert process.returncode == 0, process.stderr
    repo = hub[REPO]
    assert set(repo.files()) == FILES | {"LICENSE", "robustness.png", ".gitattributes"}
    assert repo.private
    assert [commit.title for commit in repo.log()] == [
        "resnet18_cifar_pushpull.photos, by timm-pushpull",
        "initial commit",
    ]
    assert (repo.branches, repo.tags) == ({"main": repo.head()}, {"v1": repo.head()})
    assert f"{REPO}@v1: {hub.endpoint}/{REPO}/commit/{repo.head()}" in process.stdout
    for name in FILES - {"README.md"}:
        assert repo.files()[name] == (finished / name).read_bytes()
    card = repo.files()["README.md"].decode()
    assert f'"hf-hub:{REPO}"' in card
    assert "local-dir:" not in card
    assert "](robustness.png)" in card
    pulled = timm.create_model(f"hf-hub:{REPO}@v1", pretrained=True).eval()
    local = timm.create_model(f"local-dir:{finished}", pretrained=True).eval()
    x = torch.ones(1, 3, 32, 32)
    assert torch.equal(pulled(x), local(x))


@pytest.mark.parametrize("edited", [False, True])
def test_a_run_can_be_published_under_another_tag(release, run_inside, tmp_path, monkeypatch, edited):
    """Such as one of an older version, whose tag is the name of a folder with a space or a dot."""
    config = json.loads((release.path / "config.json").read_text())
    config["pretrained_cfg"]["tag"] = "my photos.v1"
    (release.path / "config.json").write_text(json.dumps(config))
    card = release.card.replace("resnet18_cifar_pushpull.photos", "resnet18_cifar_pushpull.my photos.v1")
    (release.path / "README.md").write_text(card + "Mine.\n" * edited)
    command = ("publish.py", release.path, "--namespace", "me", "--dry-run")
    assert_one_clear_line(run_inside(script.main, *command), "tag 'my photos.v1'", "--tag")
    made = []
    monkeypatch.setattr(script, "send", lambda release, repo_id, options: made.append((release.config, release.card)))
    process = run_inside(script.main, *command, "--tag", "mine")
    assert process.returncode == 0, process.stderr
    ((published, text),) = made
    assert published["pretrained_cfg"]["tag"] == "mine"
    assert ("resnet18_cifar_pushpull.mine" in text, text.endswith("Mine.\n")) == (not edited, edited)


def test_a_card_that_its_owner_has_edited_is_published_as_it_is(release, hub, run_inside):
    path = release.path / "README.md"
    path.write_text(path.read_text().replace("## Citation", "## Thanks\n\nTo my cats.\n\n## Citation"))
    process = run_inside(script.main, "publish.py", release.path, "--namespace", "me")
    assert process.returncode == 0, process.stderr
    card = hub[REPO].files()["README.md"].decode()
    assert "To my cats." in card
    assert f'"hf-hub:{REPO}"' in card


def test_publishing_twice_uploads_nothing_and_a_change_is_a_new_version(release, hub):
    first = quietly(release)
    assert set(first.changed) == FILES
    before = len(hub.asked("commit"))
    second = quietly(release)
    assert (second.commit, second.tag, second.changed) == (first.commit, "v1", ())
    assert len(hub.asked("commit")) == before
    assert not hub.asked("upload")[1:]
    third = quietly(again(release))
    assert (third.tag, third.changed) == ("v2", ("recipe.yaml",))
    assert hub[REPO].tags == {"v1": first.commit, "v2": third.commit}
    assert len(hub[REPO].log()) == 3


def test_files_of_others_in_the_repository_stay(release, hub):
    hub.add(REPO, {"notes.txt": b"mine", "README.md": b"old"})
    quietly(release)
    assert hub[REPO].files()["notes.txt"] == b"mine"
    assert hub[REPO].files()["README.md"] != b"old"


def test_a_pull_request_is_left_for_others(release, hub):
    first = quietly(release)
    made = quietly(again(release), create_pr=True)
    (pull,) = hub[REPO].pulls.values()
    assert (pull.status, pull.oid, made.tag) == ("open", made.commit, None)
    assert hub[REPO].head() == first.commit
    assert hub[REPO].files("refs/pr/1")["recipe.yaml"].endswith(b"# once more\n")


def test_snippets_that_its_owner_has_edited_change_nothing_else(release, hub, run_inside):
    """The licence comes along, and what the recipe must not tell is replaced in the recipe and on the card."""
    (release.path / "recipe.yaml").write_text(
        "dataset: https://me:hunter2@host/data\nepochs: 1\nnum_classes: 2\nseed: 7\n"
    )
    card = Release.load(release.path).render(f"hf-hub:{REPO}")
    assert "hunter2" in card
    (release.path / "README.md").write_text(card)
    process = run_inside(script.main, "publish.py", release.path, "--namespace", "me")
    assert process.returncode == 0, process.stderr
    files = hub[REPO].files()
    assert "LICENSE" in files
    assert not any(b"hunter2" in content for content in files.values())
    assert b"@host/data" in files["README.md"]


def test_the_base_model_keeps_its_name(release):
    card = release.card + "\nbase_model: timm-pushpull/resnet18_cifar_pushpull.photos10\n"
    card = card.replace('"local-dir:."', '"hf-hub:timm-pushpull/resnet18_cifar_pushpull.photos"')
    found = dataclasses.replace(release, card=card).card_for("me/mine")
    assert "base_model: timm-pushpull/resnet18_cifar_pushpull.photos10" in found
    assert '"hf-hub:me/mine"' in found
    assert '"hf-hub:timm-pushpull' not in found


@pytest.mark.parametrize("private", [False, True])
def test_the_namespace_decides_whether_it_is_private_unless_asked(release, hub, monkeypatch, private):
    asked = []
    create = HfApi.create_repo
    monkeypatch.setattr(HfApi, "create_repo", lambda *args, **kw: asked.append(kw["private"]) or create(*args, **kw))
    quietly(release, private=private)
    assert asked == [True if private else None]


def test_files_of_an_earlier_version_are_removed(release, hub):
    path = release.path / ".eval_results" / "timm-pushpull.yaml"
    path.parent.mkdir()
    path.write_text("[]\n")
    quietly(Release.load(release.path))
    assert ".eval_results/timm-pushpull.yaml" in hub[REPO].files()
    shutil.rmtree(path.parent)
    assert quietly(release).changed == (".eval_results/timm-pushpull.yaml",)
    assert ".eval_results/timm-pushpull.yaml" not in hub[REPO].files()
    assert quietly(release).changed == ()


def test_a_wrong_collection_is_found_before_anything_is_uploaded(release, hub):
    with pytest.raises(InputError):
        quietly(release, collection=f"me/nothing-{'0' * 24}")
    assert hub.repositories == {}


def test_what_fails_after_the_commit_says_that_it_is_published(release, hub, fast):
    hub.fail("tag", status=500, times=None)
    with pytest.raises(InputError, match=f"cannot tag {REPO}, whose files are published"):
        quietly(release)
    hub.heal()
    with pytest.raises(InputError, match=f"cannot add {REPO}@v1, which is published .* to a collection"):
        quietly(release, collection="x" * 99)


@pytest.mark.parametrize("collection", ["Robust networks", "PushPull 3/5", "slug"])
def test_collections(release, hub, collection):
    if collection == "slug":
        collection = HfApi(hub.endpoint, TOKEN).create_collection("Of mine").slug
    for _ in range(2):
        quietly(release, collection=collection)
    (found,) = hub.collections.values()
    assert ("push-pull unit" in found.description) == (found.title != "Of mine")
    assert [item["id"] for item in found.items] == [REPO]


def test_two_publishers_at_once(release, hub):
    """The other one is done first, between our upload and our last commit: the whole of it stays, nothing of ours."""
    hub.add(REPO, {"README.md": b"# before"})
    hub.before("commit", lambda: hub[REPO].commit({"model.safetensors": b"theirs"}, "theirs"), after=1)
    with pytest.raises(InputError, match="somebody else has changed the repository meanwhile"):
        quietly(release)
    assert hub[REPO].files() == {"README.md": b"# before", "model.safetensors": b"theirs"}
    assert (set(hub[REPO].branches), hub[REPO].tags) == ({"main"}, {})
    quietly(release)
    assert hub[REPO].files()["model.safetensors"] == (release.path / "model.safetensors").read_bytes()


EXPIRED = "Invalid credentials in Authorization header"
FAULTS = {
    "an expired token": ("branch", {"status": 401, "message": EXPIRED}, "does not accept the token"),
    "no such namespace": ("create", {"status": 404, "code": "RepoNotFound"}, "no such repository"),
    "no right to commit": ("commit", {"status": 403}, "may not write there"),
    "taken branch": ("branch", {"status": 409}, "exists there already"),
    "stale parent": ("commit", {"status": 412, "after": 1}, "somebody else has changed"),
    "too many requests": ("preupload", {"status": 429, "retry_after": 1, "times": None}, "fewer requests"),
    "a failing Hub": ("commit", {"status": 500, "times": None}, "failed with status 500"),
    "a failing store": ("upload", {"status": 500, "times": None}, "failed with status 500"),
    "a broken upload": ("upload", {"drop": 1000, "times": None}, "broke off"),
    "a broken download": ("download", {"drop": 1000, "times": None}, "broke off"),
    "a short download": ("download", {"truncate": 1000, "times": None}, "broke off"),
    "another content": ("download", {"corrupt": True}, "damaged on the way"),
    "no last commit": ("commit", {"status": 500, "after": 1, "times": None}, "failed with status 500"),
    "an echo of the token": ("commit", {"status": 418, "message": f"who is {TOKEN}?"}, r"who is \*\*\*\?"),
    "no tag": ("tag", {"status": 500, "times": None}, "failed with status 500"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_after_every_fault_the_version_before_is_current_and_a_second_try_succeeds(release, hub, fast, name):
    kind, how, words = FAULTS[name]
    before = quietly(release)
    newer = with_other_weights(release)
    hub.fail(kind, **how)
    with pytest.raises(InputError, match=words) as error:
        quietly(newer)
    assert "\n" not in str(error.value)
    assert TOKEN not in str(error.value)
    if name != "no tag":
        assert hub[REPO].head() == before.commit
    assert (set(hub[REPO].branches), hub[REPO].tags) == ({"main"}, {"v1": before.commit})
    hub.heal()
    after = quietly(newer)
    assert after.tag == "v2"
    assert {name: hub[REPO].files()[name] for name in FILES - {"README.md"}} == {
        name: (release.path / name).read_bytes() for name in FILES - {"README.md"}
    }


def with_other_weights(release: Release) -> Release:
    """A newer version with other weights, which go through Git LFS."""
    shutil.rmtree(release.path)
    write_run(release.path, **SMALL)
    return Release.load(release.path)


@pytest.mark.parametrize("kind", ["create", "commit"])
def test_a_lost_answer_is_made_good_by_running_again(release, hub, kind):
    """The Hub has done what it was asked, and nobody was told."""
    hub.fail(kind, drop=0, after=1 if kind == "commit" else 0)
    with pytest.raises(InputError, match="broke off"):
        quietly(release)
    assert hub[REPO].tags == {}
    after = quietly(release)
    assert (after.tag, after.commit) == ("v1", hub[REPO].head())
    assert len(hub[REPO].log()) == 2


def test_a_public_repository_is_not_taken_for_a_private_one(release, hub):
    hub.add(REPO)
    with pytest.raises(InputError, match="is already public"):
        quietly(release, private=True)


def test_what_comes_back_is_compared_with_what_was_sent(release, hub, monkeypatch):
    """A Hub that serves other content under a hash of its own."""
    hub.add(REPO)

    def swap() -> None:
        repo = hub[REPO]
        (branch,) = set(repo.branches) - {"main"}
        repo.commits[repo.branches[branch]].files["recipe.yaml"] = b"epochs: 90\n"

    hub.before("resolve", swap)
    with pytest.raises(InputError, match=r"returns a recipe.yaml that differs from the uploaded one"):
        quietly(release)
    assert hub[REPO].files() == {}


@pytest.mark.parametrize("create_pr", [False, True])
def test_logits_of_what_comes_back_are_compared(release, hub, monkeypatch, create_pr):
    given = iter([torch.zeros(2, 2), torch.ones(2, 2)])
    monkeypatch.setattr(publishing, "logits", lambda model, release: next(given))
    with pytest.raises(InputError, match="returns a model with other logits"):
        quietly(release, create_pr=create_pr)
    assert "README.md" not in hub[REPO].files()
