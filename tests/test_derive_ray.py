"""`luab-data derive --engine ray` on a local Ray: the same dataset as the local engine's."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from derive_world import (
    IMAGES_PER_SHARD,
    coco_dataset,
    imagenet_dataset,
    instances_file,
)
from logs import files

from luab_data.cli.datasets import derive as command
from luab_data.derivation import derive
from luab_data.errors import DatasetError, OptionError
from luab_data.kinds import KINDS

POINT = ["notebook_point_x", "notebook_point_y"]


def test_without_ray_the_answer_is_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = coco_dataset(tmp_path, None)
    before = files(folder)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionError, match=r"pip install .*\[ray\]"):
        derive(folder, engine="ray")
    assert files(folder) == before


class StandIn:
    """What derive asks of Ray, in this process: everything is pickled on its way, as Ray does."""

    def __init__(self, function: Any = None) -> None:
        self.function = pickle.loads(pickle.dumps(function))

    def is_initialized(self) -> bool:
        return True

    def put(self, value: object) -> bytes:
        return pickle.dumps(value)

    def remote(self, *given: Any) -> Any:
        if self.function is None:
            return StandIn(*given)
        job, number, truth = given
        job = pickle.loads(pickle.dumps(job))
        return pickle.dumps(self.function(job, number, pickle.loads(truth)))

    def wait(self, refs: list[bytes], num_returns: int) -> tuple[list[bytes], list[bytes]]:
        return refs[-num_returns:], refs[:-num_returns]  # the last ones first

    def get(self, ref: bytes) -> Any:
        return pickle.loads(ref)


def test_what_goes_to_ray_and_back_survives_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for kind in KINDS.values():
        monkeypatch.setattr(type(kind), "images_per_shard", IMAGES_PER_SHARD)
    monkeypatch.setitem(sys.modules, "ray", StandIn())
    truth = instances_file(tmp_path / "instances.json")
    coco, imagenet = coco_dataset(tmp_path, truth), imagenet_dataset(tmp_path)
    for folder, given in ((coco, truth), (imagenet, None)):
        derive(folder, out=tmp_path / "out" / folder.name, instances=given, engine="ray")
        assert files(tmp_path / "out" / folder.name) == files(folder)
    damaged = sorted((coco / "actions").iterdir())[1]
    damaged.write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=f"{damaged.name}: damaged"):
        derive(coco, out=tmp_path / "again", engine="ray")


needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs luab[ray]")
# Ray's own code warns about its files and processes.
slow = [pytest.mark.slow, needs_ray, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A local Ray of two processors, and small datasets beside it."""
    import ray

    folder = tmp_path_factory.mktemp("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else it writes a token to the user's home
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        for kind in KINDS.values():
            patch.setattr(type(kind), "images_per_shard", IMAGES_PER_SHARD)
        imagenet_dataset(folder)
        coco_dataset(folder, None)
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        try:
            yield folder
        finally:
            ray.shutdown()


class TestRay:
    pytestmark = slow

    @pytest.mark.parametrize("name", ["imagenet-ab", "coco-ab"])
    def test_its_files_are_those_of_the_local_engine(
        self, cluster: Path, name: str, tmp_path: Path
    ):
        one, two = tmp_path / "one" / name, tmp_path / "two" / name
        local = derive(cluster / name, columns=POINT, out=one)
        ray = derive(cluster / name, columns=POINT, out=two, engine="ray")
        assert ray.content_digest == local.content_digest and ray.changed
        assert files(two) == files(one)

    def test_it_reads_and_writes_through_a_filesystem_s_url(self, cluster: Path, tmp_path: Path):
        # `local://` is fsspec's own, not pyarrow's.
        source, out = (cluster / "imagenet-ab").as_uri(), f"local://{tmp_path}/imagenet-ab"
        found = CliRunner().invoke(command, [source, "--out", out, "--engine", "ray"])
        assert found.exit_code == 0, found.output
        assert files(tmp_path / "imagenet-ab") == files(cluster / "imagenet-ab")

    def test_a_worker_s_error_is_the_user_s_error(self, cluster: Path, tmp_path: Path):
        folder = tmp_path / "imagenet-ab"
        derive(cluster / "imagenet-ab", out=folder)
        path = sorted((folder / "rounds").iterdir())[2]
        path.write_bytes(path.read_bytes()[:-100])
        before = files(folder)
        with pytest.raises(DatasetError, match=r"rounds/train-00002.*damaged"):
            derive(folder, engine="ray")
        assert files(folder) == before
