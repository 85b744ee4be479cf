"""Runs, studies and releases: links and other files than the expected ones are not removed, written or published."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import yaml

import publish as publish_script
import stage as stage_script
from support.example_run import SMALL, write_run
from support.hostile import NAMES_IN_YAML, tree
from support.paths import ROOT, needs_releases
from support.processes import assert_one_clear_line
from timm_pushpull import InputError
from timm_pushpull.benchmark.results import Results
from timm_pushpull.hub import Release, prepare_upload, publish, stage
from timm_pushpull.hub.contents import _KNOWN, check_files
from timm_pushpull.hub.release import FILES
from timm_pushpull.utils.files import sha256
from timm_pushpull.utils.locks import only_process
from train import log, release, run_folder, run_queue, study, train
from train.command_line import training_command
from train.run_folder import Checkpoints, RunFolder, copy_trained
from train.settings import Settings

pytestmark = pytest.mark.usefixtures("unharmed")


def test_overwriting_a_run_removes_no_target_of_its_links(tmp_path, victim):
    write_run(tmp_path / "run", **SMALL)
    for name in run_folder._FILES:
        (tmp_path / "run" / name).unlink(missing_ok=True)
        (tmp_path / "run" / name).symlink_to(victim / "file" if "." in name else victim)
    RunFolder(tmp_path / "run", resume=False, overwrite=True).start(Settings(models=("resnet18_cifar",)))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["recipe.yaml"]
    assert not (tmp_path / "run" / "recipe.yaml").is_symlink()


def test_states_are_not_kept_through_a_link(tmp_path, victim):
    checkpoints = Checkpoints(tmp_path, {}, 0)
    (tmp_path / "state").symlink_to(victim)
    with pytest.raises(InputError, match="is a symbolic link"):
        checkpoints.save(2, {})
    with pytest.raises(InputError, match="is a symbolic link"):
        Checkpoints(tmp_path, {}, 0)


def test_a_tracker_is_not_told_what_a_link_points_to(tmp_path, victim):
    (tmp_path / "tracking").mkdir()
    (tmp_path / "tracking" / "id").write_text("a private key")
    settings = Settings(models=("resnet18_cifar",))
    with pytest.raises(InputError, match="holds no identifier"):
        log._run_arguments("wandb", tmp_path / "tracking", settings)
    (tmp_path / "tracking" / "id").unlink()
    (tmp_path / "tracking" / "id").symlink_to(victim / "id")
    with pytest.raises(InputError, match="is a symbolic link"):
        log._run_arguments("wandb", tmp_path / "tracking", settings)


@NAMES_IN_YAML
def test_a_recipe_s_models_are_no_paths(name, tmp_path, run_inside):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"models": [name], "dataset": "digits", "epochs": 1}))
    before = tree(tmp_path)
    given = ("--recipe", tmp_path / "recipe.yaml", "--output", tmp_path / "runs", "--overwrite")
    reason = "is not a plain file name" if name.isprintable() else "give printable text"
    assert_one_clear_line(run_inside(train.main, "train.py", *given), reason)
    assert tree(tmp_path) == before


PLAN = {"table": "table2", "recipe": "digits", "seeds": [1], "rows": {}}
ROW = {"paper": "ResNet50", "model": "resnet18_cifar"}


@NAMES_IN_YAML
def test_names_in_plans_are_no_paths(name, tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    for rows, words in (
        ({name: ROW}, "is not a plain file name"),
        ({"plain": {**ROW, "seeds": [name]}}, "give whole numbers"),
    ):
        (folder / "plan.yaml").write_text(yaml.safe_dump({**PLAN, "rows": rows}))
        with pytest.raises(InputError, match=words):
            study.Study.load(folder)
    (tmp_path / "releases.yaml").write_text("{}")
    (tmp_path / "queue.yaml").write_text(yaml.safe_dump([{"study": name}]))
    with pytest.raises(InputError, match="is not a plain file name"):
        run_queue.plan_jobs(tmp_path / "queue.yaml", tmp_path / "runs", {})
    (tmp_path / "releases.yaml").write_text(yaml.safe_dump({name: {"recipe": "digits"}}))
    with pytest.raises(InputError, match="is not a plain file name"):
        release.load_planned(tmp_path / "releases.yaml")


@pytest.mark.parametrize(
    "settings",
    [
        *({"output": "../victim"}, {"outp": "../victim"}, {"overwrite": True}, {"resume": False}),
        *({"model_args": {"--output": "../victim"}}, {"model_args": {"": 1}}),
    ],
    ids=str,
)
def test_settings_in_plans_are_no_other_options_of_the_training(settings, tmp_path):
    with pytest.raises(InputError):
        training_command("digits", "resnet18_cifar", tmp_path / "run", settings)


def run_job(job: run_queue.Job, folder: Path) -> list[str]:
    """Run one job; returns the names of those that failed."""
    return run_queue.Queue([job], folder).run([min(run_queue.available_cores())])


def test_a_queue_writes_its_logs_and_results_through_no_link(tmp_path, victim, capsys):
    job = run_queue.Job(
        "a job", ["true"], (tmp_path / "study" / "plain.1.json",), (), tmp_path / "run" / "results.json"
    )
    write_run(tmp_path / "run", **SMALL)
    (tmp_path / "study").mkdir()
    (tmp_path / "a-job.lock").symlink_to(victim / "file")
    with pytest.raises(InputError, match="is a symbolic link"):
        run_job(job, tmp_path)
    (tmp_path / "a-job.lock").unlink()
    (tmp_path / "a-job.log").symlink_to(victim / "file")
    assert run_job(job, tmp_path) == ["a job"]
    assert "is a symbolic link" in capsys.readouterr().out
    (tmp_path / "a-job.log").unlink()
    job.makes[0].symlink_to(victim / "missing")  # dangling, as one to an existing file would say that the job is done
    assert run_job(job, tmp_path) == []
    assert job.makes[0].read_bytes() == job.save.read_bytes()
    assert not job.makes[0].is_symlink()
    job.save.unlink()
    job.save.symlink_to(victim / "file")
    job.makes[0].unlink()
    assert run_job(job, tmp_path) == ["a job"]
    assert "is a symbolic link" in capsys.readouterr().out


# Releases

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n-----END OPENSSH PRIVATE KEY-----\n"
GOOD_LOG = "epoch,loss,learning_rate\n1,0.5,1e-05\n2,nan,-.5\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A release of everything that may be published."""
    folder = tmp_path_factory.mktemp("finished")
    write_run(folder / "run", **SMALL)
    (folder / "run" / "log.csv").write_text(GOOD_LOG)
    staged = stage_half(folder / "run", folder / "releases", folder / "cards")
    assert {str(path.relative_to(staged)) for path in staged.rglob("*") if path.is_file()} == set(FILES)
    return staged


def stage_half(run: Path, releases: Path, cards: Path) -> Path:
    """`stage` of a run whose weights are made half of what they were."""
    weights = safetensors.torch.load_file(run / "model.safetensors")
    safetensors.torch.save_file(
        {name: value.half() if value.is_floating_point() else value for name, value in weights.items()},
        run / "model.safetensors",
        {"format": "pt", "avg_size": "3"},
    )
    results = json.loads(Results.load(run).to_json()) | {"weights_sha256": sha256(run / "model.safetensors")}
    (run / "results.json").write_text(json.dumps(results))
    return stage(run, releases, cards, ROOT / "LICENSE", None, True)


def test_one_process_at_a_time_makes_a_release(finished, tmp_path):
    with only_process(tmp_path / "new" / finished.name):
        with pytest.raises(InputError, match="another process is working on"):
            stage(finished, tmp_path / "new", tmp_path / "cards", ROOT / "LICENSE")
        assert [path.name for path in (tmp_path / "new").iterdir()] == [f".{finished.name}.lock"]
    assert stage(finished, tmp_path / "new", tmp_path / "cards", ROOT / "LICENSE").name == finished.name
    assert [path.name for path in (tmp_path / "new").iterdir()] == [finished.name]


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "release"))


@pytest.fixture
def secret(tmp_path) -> Path:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "id_rsa").write_text(KEY)
    return tmp_path / "secret" / "id_rsa"


def link(path: Path, target: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(target)


def refused_everywhere(folder: Path, tmp_path: Path, run_inside, *words: str) -> None:
    """By every way on which a folder's files leave it; nothing is made."""
    places = ("--releases", tmp_path / "new", "--cards", tmp_path / "new")
    for process in (
        run_inside(publish_script.main, "publish.py", folder, "--namespace", "me", "--dry-run"),
        run_inside(publish_script.main, "publish.py", folder, "--namespace", "me"),
        run_inside(stage_script.main, "stage.py", folder, *places),
    ):
        assert_one_clear_line(process, *words)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", FILES)
def test_a_link_in_place_of_a_file_is_not_published(name, folder, tmp_path, secret, hub, run_inside):
    link(folder / name, secret)
    refused_everywhere(folder, tmp_path, run_inside, "is a symbolic link")
    assert not hub.repositories
    # Nor one to the very file that belongs there.
    (tmp_path / "other").write_bytes(b"{}")
    link(folder / name, tmp_path / "other")
    refused_everywhere(folder, tmp_path, run_inside, "is a symbolic link")


@pytest.mark.parametrize("place", ["", ".eval_results"])
def test_a_link_in_place_of_a_folder_is_not_published(place, folder, tmp_path, hub, run_inside):
    shutil.move(folder / place, tmp_path / "moved")
    (folder / place).symlink_to(tmp_path / "moved")
    refused_everywhere(folder, tmp_path, run_inside, "is a symbolic link")
    assert not hub.repositories


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_regular_file_is_not_published(kind, folder, tmp_path, hub, run_inside):
    (folder / "log.csv").unlink()
    os.mkfifo(folder / "log.csv") if kind == "pipe" else (folder / "log.csv").mkdir()
    refused_everywhere(folder, tmp_path, run_inside, "log.csv")


@pytest.mark.parametrize("name", FILES)
def test_a_secret_or_too_much_in_place_of_a_file_is_not_published(name, folder, tmp_path, hub, run_inside):
    limit, _ = _KNOWN[name]
    original = (folder / name).read_bytes()
    with open(folder / name, "ab") as file:
        file.truncate(limit + 1)  # sparse: no disk is filled
    refused_everywhere(folder, tmp_path, run_inside, name, "bytes; at most")
    (folder / name).write_text(KEY)
    refused_everywhere(folder, tmp_path, run_inside, f"damaged file: {name}")
    (folder / name).write_bytes(b"\xff\xfe" + original[2:])
    refused_everywhere(folder, tmp_path, run_inside, f"damaged file: {name}")
    assert not hub.repositories


ROWS = ["1", "1,2,3", "1,secret", "1,", "", "1,0x10", "1,1_0", "1,2 ", '1,"2', "1,2\0", "1,٣", "1,2\n# -----BEGIN"]
LOGS = ["", "\n", KEY, "1,2\n1,2\n", "epoch,epoch\n1,2\n", "epoch, loss\n1,2\n", "e" * 65 + "\n1\n"]
LOGS += ['epoch,"a\nb"\n1,2\n', "root:x:0:0:root:/root:/bin/bash\n", *(f"epoch,loss\n{row}\n" for row in ROWS)]


@pytest.mark.parametrize("log", LOGS, ids=ascii)
def test_a_log_is_a_table_of_numbers(log, folder):
    (folder / "log.csv").write_text(log)
    with pytest.raises(InputError, match=r"damaged file: log\.csv"):
        Release.load(folder)
    (folder / "log.csv").write_text("epoch,loss\n")
    Release.load(folder)


def test_what_has_changed_since_it_was_checked_is_checked_again(folder, secret, hub):
    loaded = Release.load(folder)
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match="has changed since it was read"):
        publish(loaded, "me/x", log=lambda line: None)
    weights.write_bytes(content)
    link(folder / "log.csv", secret)
    with pytest.raises(InputError, match="is a symbolic link"):
        publish(loaded, "me/x", log=lambda line: None)
    made = folder.parent / "made"
    made.mkdir()
    with pytest.raises(InputError, match="is a symbolic link"):
        prepare_upload(loaded, made, ROOT / "LICENSE", "me/x")
    assert all(KEY.encode() not in content for repo in hub.repositories.values() for content in repo.files().values())


def test_a_link_in_place_of_the_licence_is_not_copied(folder, tmp_path, secret):
    link(tmp_path / "LICENSE", secret)
    with pytest.raises(InputError, match="is a symbolic link"):
        stage(folder, tmp_path / "new", tmp_path / "cards", tmp_path / "LICENSE")
    assert not list((tmp_path / "new").iterdir())


def test_a_link_in_place_of_a_release_is_replaced_by_staging(folder, tmp_path, victim):
    (tmp_path / "new").mkdir()
    name = Release.load(folder).name
    (tmp_path / "new" / name).symlink_to(victim)
    (tmp_path / f"{name}.md").symlink_to(victim / "file")
    stage(folder, tmp_path / "new", tmp_path, ROOT / "LICENSE")
    assert not (tmp_path / "new" / name).is_symlink()
    assert not (tmp_path / f"{name}.md").is_symlink()


COPIED = ("recipe.yaml", "log.csv", "model.safetensors", "config.json", "results.json")


@pytest.mark.parametrize("name", [*COPIED, ""])
def test_a_trained_run_with_links_is_not_copied(name, folder, tmp_path, secret):
    if name:
        link(folder / name, secret)
    else:
        shutil.move(folder, tmp_path / "moved")
        folder.symlink_to(tmp_path / "moved")
    with pytest.raises(InputError, match="is a symbolic link"):
        copy_trained(folder, tmp_path / "trained" / "x")
    assert not (tmp_path / "trained").exists()


@pytest.mark.parametrize("name", COPIED)
def test_a_trained_run_with_other_contents_is_not_copied(name, folder, tmp_path):
    (folder / name).write_text(KEY)
    with pytest.raises(InputError, match=name):
        copy_trained(folder, tmp_path / "trained" / "x")
    assert not (tmp_path / "trained").exists()


@needs_releases
def test_our_own_releases_pass():
    for path in sorted((ROOT / "hub" / "releases").iterdir()):
        check_files(path, FILES)
