"""The guide to one's own data: its commands, its Python and its sentences, as pasted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from logs import KEY
from PIL import Image, ImageDraw
from test_docs import ROOT, blocks, lines, run_python

import luab_data
from luab_data.errors import OptionError
from luab_data.importers.tables import ROLES

GUIDE = ROOT / "docs" / "own-data.md"
CLASSES = {"Käse": "Käse", "golden retriever": "golden retriever", "tabby/cat": "tabby_cat"}


def draw_own_data(folder: Path) -> None:
    """`pics` and `clicks.csv` as a lab has them: two people click on the disc of each picture."""
    rows = [blocks(GUIDE, "text")[0].splitlines()[0]]
    time = 1_700_000_000_000
    for place, (label, inside) in enumerate(CLASSES.items()):
        (folder / "pics" / inside).mkdir(parents=True)
        for number in range(8):
            x, y = 60 + 40 * number, 300 - 70 * place
            image = Image.new("RGB", (400, 320), (90, 90, 90))
            disc = ImageDraw.Draw(image)
            disc.ellipse((x - 40, y - 40, x + 40, y + 40), fill=(255 - 100 * place, 70 * place, 40))
            file = f"pics/{inside}/IMG {number:03d}.jpg"
            image.save(folder / file)
            for worker in ("ann@example.org", "bob@example.org"):
                for event, where in (("open", ","), ("click", f"{x - 3}.5,{y}"), ("close", ",")):
                    time += 700
                    rows.append(f"{file},{label},{where},{time},{worker},{event}")
    (folder / "clicks.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def test_the_commands_of_the_guide_work_as_pasted(tmp_path: Path, monkeypatch: Any):
    from luab_data.cli import main as data
    from luab_train.cli import main as train

    draw_own_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    commands = lines(GUIDE)
    assert len(commands) == 4
    for program, *words in commands:
        main = {"luab-data": data, "luab-train": train}[program]
        found = CliRunner().invoke(main, words)
        assert found.exit_code == 0, f"{words}\n{found.output}{found.exception!r}"
    assert re.search(r"points at x .*%, y .*%\n( +\d+\.\d%  .*\n){3}", found.output), found.output
    page = Path("page/index.html").read_text(encoding="utf-8")
    assert "Cheese, cats and dogs" in page and "example.org" not in page
    assert luab_data.check("my-ab").whole
    table = luab_data.read_table("my-ab")
    assert (len(table), table["num_rounds"].to_pylist()) == (24, [2] * 24)
    assert table["final_click_x"].to_pylist()[0] == pytest.approx(57.5 / 400)


def test_the_python_of_the_guide_works_as_pasted(tmp_path: Path):
    (said,) = run_python(tmp_path, *blocks(GUIDE, "python"))
    assert "x and y taken as fraction: x goes up to 0.5 and y up to 0.64 in 2 places" in said
    assert "{'image_id': 'IMG 002', 'final_click_x': 0.5}" in said


def test_the_guide_shows_the_sentence_that_is_said(tmp_path: Path):
    shown = " ".join(blocks(GUIDE, "text")[1].split())
    places = [(98.2 - k / 2, 97.5 - k / 2) for k in range(154)]
    text = "\n".join(["image,label,x,y", *(f"a.jpg,c,{x},{y}" for x, y in places)])
    (tmp_path / "clicks.csv").write_text(text)
    with pytest.raises(OptionError) as refused:
        luab_data.convert_clicks(tmp_path / "clicks.csv", tmp_path / "d", worker_key=KEY)
    assert str(refused.value) == shown


def test_the_table_of_columns_is_that_of_the_code():
    table = re.findall(r"^\| `(\w+)` \| (.+?) \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {role: tuple(re.findall(r"`(\w+)`", names)) for role, names in table} == dict(ROLES)
