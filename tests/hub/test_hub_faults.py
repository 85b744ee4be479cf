"""The tests' Hub fails as ordered, and what the real client makes of it: our publishing stands on these."""

from __future__ import annotations

import os
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import BadRequestError

from support.hub_client import FILES, WEIGHTS, X, client, download, refused


@pytest.fixture
def api(hub) -> HfApi:
    return client(hub)


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The client's pauses before it asks again, not waited for."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


def test_objects(hub, api):
    repo, data = hub.add(X), os.urandom(250)
    hub.part_size = 100
    api.upload_file(repo_id=X, path_in_repo="a.bin", path_or_fileobj=data)
    assert (repo.files(), len(hub.asked("upload")), len(hub.asked("complete"))) == ({"a.bin": data}, 3, 1)
    wrong = urllib.request.Request(f"{hub.files}/objects/{'0' * 64}", b"not of that hash", method="PUT")
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(wrong)
    missing = CommitOperationAdd("b.bin", b"b")
    missing._upload_mode, missing._is_uploaded = "lfs", True  # so says the client
    missing._remote_oid, missing._should_ignore = None, False
    with refused(400, BadRequestError):
        api.create_commit(X, [missing], commit_message="a pointer to nothing")
    assert len(repo.log()) == 2


def test_many_at_once(hub, api):
    repo = hub.add(X)
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that threads that may meet do

    def upload(number: int) -> None:
        api.upload_file(repo_id=X, path_in_repo=f"{number}.bin", path_or_fileobj=b"%d" % number)

    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(upload, range(16)))
    finally:
        sys.setswitchinterval(switching)
    assert len(repo.log()) == 17
    assert repo.files() == {f"{number}.bin": b"%d" % number for number in range(16)}


def test_failing_requests(hub, api, waits):
    """The client asks again by itself for some routes, and for some not."""
    hub.add(X)
    hub.fail("create", status=429, retry_after=1)
    with refused(429) as caught:
        api.create_repo("me/y")
    assert caught.value.response.headers["Retry-After"] == "1"
    hub.fail("preupload", status=429, retry_after=1, times=2)
    hub.fail("commit", status=503, message="down for now")
    with refused(503) as caught:
        api.upload_file(repo_id=X, path_in_repo="a", path_or_fileobj=b"a")
    assert "down for now" in str(caught.value)
    assert waits == [2.0, 2.0]
    hub.fail("info", status=500, times=None, after=1)
    api.model_info(X)
    with refused(500):
        api.model_info(X)
    hub.heal()
    api.model_info(X)
    with pytest.raises(ValueError, match="no kind 'comit'"):
        hub.fail("comit", status=500)


def test_failing_uploads(hub, api, waits):
    repo, data = hub.add(X), os.urandom(3 << 20)
    hub.fail("upload", drop=1000, times=2)
    api.upload_file(repo_id=X, path_in_repo="a.bin", path_or_fileobj=data)
    assert (repo.files(), len(hub.asked("upload")), len(waits)) == ({"a.bin": data}, 3, 2)
    hub.fail("upload", drop=1000, times=None)
    with pytest.raises(RuntimeError, match=r"Error while uploading 'b.bin'"):
        api.upload_file(repo_id=X, path_in_repo="b.bin", path_or_fileobj=data[1:])
    assert len(repo.log()) == 2
    hub.fail("commit", drop=0)  # it is made, and nobody is told
    with pytest.raises(Exception, match=r"(?i)peer closed|disconnected|reset"):
        api.upload_file(repo_id=X, path_in_repo="c", path_or_fileobj=b"c")
    assert "c" in repo.files()


@pytest.mark.parametrize("how", [{"drop": 1000}, {"truncate": 1000}, {"corrupt": True}], ids=str)
def test_failing_downloads(hub, tmp_path, waits, monkeypatch, how):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)  # what of a chunk came before a break is lost
    hub.add(X, FILES)
    hub.fail("download", times=None, **how)
    if "corrupt" in how:
        assert download(hub, tmp_path) != WEIGHTS  # nobody looks at the hash
        hub.heal()
        assert download(hub, tmp_path) != WEIGHTS  # and the cache keeps it
    elif "drop" in how:
        assert download(hub, tmp_path) == WEIGHTS  # resumed where it broke
        assert [request.method for request in hub.asked("download")] == ["GET"] * 5
    else:
        with pytest.raises(OSError, match="Consistency check failed"):
            download(hub, tmp_path)
        assert not list(tmp_path.rglob("snapshots/*/*"))
        assert not list(tmp_path.rglob("*.incomplete"))
        hub.heal()
        assert download(hub, tmp_path) == WEIGHTS
