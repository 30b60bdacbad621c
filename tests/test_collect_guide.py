"""docs/collect.md as pasted, with scripted annotators in the place of people."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from collect_world import Person
from PIL import Image, ImageDraw
from test_collect import LAYOUT, click, move
from test_docs import ROOT, blocks, lines

import luab_data
from luab_data.cli import main as data
from luab_data.collect.serve import opened
from luab_train.cli import main as train

GUIDE = ROOT / "docs" / "collect.md"
CLASSES = ("cat", "dog", "fish")
EACH, SIDE, HALF = 12, 96, 16
SHARE_IN_BOX = {"nudged": 11, "plain": 8}
"""Of twelve clicks of somebody of an arm, how many are in the box: one more or less of some."""


def draw(folder: Path) -> None:
    """`pictures`, each with a disc, and `boxes.csv` of the discs."""
    rows = ["image_id,xmin,ymin,xmax,ymax"]
    for place, name in enumerate(CLASSES):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(EACH):
            x, y = 20 + 5 * number, 70 - 20 * place
            image = Image.new("RGB", (SIDE, SIDE), (90, 90, 90))
            colour = (255 - 100 * place, 70 * place, 40)
            box = (x - HALF, y - HALF, x + HALF, y + HALF)
            ImageDraw.Draw(image).ellipse(box, fill=colour)
            image.save(folder / "pictures" / name / f"{name}-{number}.png")
            rows.append(f"{name}-{number},{','.join(map(str, box))}")
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n")


def answer(folder: str) -> int:
    """People answer all pages: they select what lies in the class's folder; how many they are."""
    with opened(folder) as study:
        paths = {key: picture.path for key, picture in study.pictures.items()}
        for number in itertools.count():
            ann = Person(study)
            if not ann.token:
                return number
            state, clicks = ann.state, itertools.count(number)
            arm = "nudged" if state["options"]["blur"] else "plain"
            while not state.get("finished"):
                page, name, t = state["page"], state["class"]["name"], 100.0
                events: list[dict[str, Any]] = [{**LAYOUT, "page": page}]
                chosen = [s for s in state["slots"] if paths[s["picture"]].startswith(f"{name}/")]
                for slot in chosen:
                    of = int(re.findall(r"\d+", paths[slot["picture"]])[0])
                    x, y = (20 + 5 * of) / SIDE, (70 - 20 * CLASSES.index(name)) / SIDE
                    if next(clicks) % 12 >= SHARE_IN_BOX[arm] + number % 3 - 1:
                        y = (y + 0.5) % 1
                    events += [
                        {**move(slot["slot"], t, 0, y), "type": "enter", "page": page},
                        {**move(slot["slot"], t + 20, x / 2, y), "page": page},
                        {**move(slot["slot"], t + 40, x, y), "page": page},
                        {**click(slot["slot"], t + 60, True, page), "fx": x, "fy": y},
                    ]
                    t += 500
                ann.do(*events, {"type": "submit", "page": page, "t": t})
                places = [slot["slot"] for slot in chosen]
                state = ann.submit(page, {"selected": places, "failed": []}).json()
    raise AssertionError


def run(program: str, *words: str) -> str:
    found = CliRunner().invoke({"luab-data": data, "luab-train": train}[program], [*words])
    assert found.exit_code == 0, f"{words}\n{found.output}{found.exception!r}"
    return found.output


def test_the_guide_leads_from_pictures_to_a_model_and_from_arms_to_their_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    draw(tmp_path)
    monkeypatch.chdir(tmp_path)
    # Whoever comes is in the next arm, so that no draw decides what is tested.
    arms = itertools.cycle(sorted(SHARE_IN_BOX))
    monkeypatch.setattr("luab_data.collect.people.arm_of", lambda study, person, taken: next(arms))
    said = {}
    for program, *words in lines(GUIDE):
        if words[:2] == ["collect", "serve"]:
            file = Path("my-study/study.toml")
            text = file.read_text(encoding="utf-8").replace("overlap = 1 ", "overlap = 4 ")
            file.write_text(text + blocks(GUIDE, "toml")[0], encoding="utf-8")
            assert answer("my-study") == 4 * len(CLASSES)
        else:
            said[" ".join(words[:2])] = run(program, *words)
    assert "sessions finished      12" in said["collect status"]
    assert "valid; " in said["validate log.jsonl.zst"]
    page = Path("page/index.html").read_text(encoding="utf-8")
    assert "Cats and dogs" in page and "shown as boxes" not in said["report my-ab"]
    assert "runs/click: debug:tiny, target click" in said["run debug:tiny"]
    shown = blocks(GUIDE, "text")[0]
    assert shown in said["stats boxed"], said["stats boxed"]
    accuracy = luab_data.stats("boxed", ["click_accuracy"], by="arm").estimates["click_accuracy"]
    for arm, hits in SHARE_IN_BOX.items():
        assert float(accuracy[arm].value) == pytest.approx(hits / 12, abs=0.05)
    # Every picture was asked about under its own class and, among others, under the other two.
    joined = luab_data.join_images("boxed", "pictures", columns=["wnid", "boxes", "image_file"])
    assert len(joined.table) == len(luab_data.read_table("boxed")) > len(CLASSES) * EACH
    for row in joined.table.to_pylist():
        is_own = row["image_file"].startswith(f"{row['wnid']}/")
        assert row["image_path"].endswith(row["image_file"]) and len(row["boxes"]) == is_own
    assert luab_data.check("as-released").whole
