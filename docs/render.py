"""Draw docs/pictures/: a page replay and a statistic of a simulated log. `make pictures`.

Simulated annotators select the goldfish of a page; the pictures are drawn here, seeded. The replay
is an SVG file that Chromium turns into pixels, so it needs `chromium` on the PATH.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow.compute as pc
from PIL import Image, ImageDraw, ImageFilter

import luab_data
from luab_data.reports import page_svg

PICTURES = Path(__file__).parent / "pictures"
WNID = "n01443537"  # goldfish
NUM_IMAGES = 6000
SIZE = 320, 220
WIDTH = 880
"""px of the replay as committed."""


def fish(number: int) -> list[float]:
    """Its box [left, up, right, down] in px, from the number alone."""
    rng = np.random.default_rng([1443537, number])
    length = rng.uniform(0.25, 0.75) * SIZE[0]
    tall = length * rng.uniform(0.32, 0.45)
    x = rng.uniform(length / 2, SIZE[0] - length / 2)
    y = rng.uniform(tall / 2, SIZE[1] - tall / 2)
    return [x - length / 2, y - tall / 2, x + length / 2, y + tall / 2]


def tank(number: int) -> Image.Image:
    """The goldfish in water."""
    rng = np.random.default_rng([443537, number])
    width, height = SIZE
    top, bottom = rng.integers((90, 150, 170), (150, 210, 230)), rng.integers(20, 110, 3)
    ramp = np.linspace(0, 1, height)[:, None, None]
    water = np.broadcast_to(top * (1 - ramp) + bottom * ramp, (height, width, 3))
    image = Image.fromarray((water + rng.normal(0, 3, water.shape)).clip(0, 255).astype("uint8"))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(2, 6)):  # weeds
        x, tall = rng.uniform(0, width), rng.uniform(0.2, 0.7) * height
        sway = np.sin(np.linspace(0, 6, 30) + rng.uniform(0, 6)) * 6
        line = [(x + s, height - tall * i / 29) for i, s in enumerate(sway)]
        green = (int(rng.integers(20, 60)), int(rng.integers(90, 150)), int(rng.integers(50, 90)))
        draw.line(line, fill=green, width=int(rng.integers(4, 9)), joint="curve")
    left, up, right, down = fish(number)
    length, tall, x, y = right - left, down - up, (left + right) / 2, (up + down) / 2
    gold = (int(rng.integers(225, 255)), int(rng.integers(110, 165)), int(rng.integers(20, 60)))
    dark = tuple(int(c * 0.8) for c in gold)
    nose, tail, turn = (left, right, 1) if rng.integers(2) else (right, left, -1)
    body_end = tail - turn * length * 0.28
    draw.polygon([(body_end, y), (tail, up), (tail - turn * length * 0.1, y), (tail, down)], dark)
    fin = x - turn * length * 0.1
    draw.polygon([(fin - 0.12 * length, y), (fin, up), (fin + 0.12 * length, y)], dark)
    body = sorted([nose, body_end + turn * length * 0.08])
    draw.ellipse([body[0], up + tall * 0.1, body[1], down - tall * 0.1], gold)
    eye, r = nose + turn * length * 0.13, max(2.0, length * 0.025)
    draw.ellipse([eye - r, y - tall * 0.12 - r, eye + r, y - tall * 0.12 + r], (20, 20, 20))
    return image.filter(ImageFilter.GaussianBlur(0.7))


def dataset(corner: Path) -> Path:
    """A dataset folder of as many goldfish."""
    images = [
        luab_data.LabelledImage(
            image_id=f"{WNID}_{n}", wnid=WNID, width=SIZE[0], height=SIZE[1], boxes=[fish(n)]
        )
        for n in range(NUM_IMAGES)
    ]
    raw, truth = corner / "raw.tar.gz", corner / "truth.jsonl"
    luab_data.simulate_imagenet(images, raw, truth=truth, boxed_fraction=1.0, seed=4)
    luab_data.convert_imagenet(raw, corner / "imagenet-ab")
    return corner / "imagenet-ab"


def pictures_of(folder: Path, page: str, images: Path) -> None:
    """Draw the files of a page's pictures."""
    wanted = [("assignment_id", "==", page.partition(":")[0])]
    rounds = luab_data.read_table(folder, "rounds", columns=["image_id"], filters=wanted)
    images.mkdir()
    for name in sorted(set(rounds["image_id"].to_pylist())):
        tank(int(name.partition("_")[2])).save(images / f"{name}.JPEG", quality=90)


def careful_page(folder: Path) -> str:
    """ASSIGNMENT:PAGE with nine clicks in their box, of the first annotator who has one."""
    names = ["assignment_id", "page_idx"]
    images = luab_data.read_table(folder, columns=[*names, "click_in_box"])
    hits = images.set_column(2, "hit", pc.fill_null(images["click_in_box"], False).cast("int32"))
    pages = hits.group_by(names).aggregate([("hit", "sum")])
    good = pages.filter(pc.field("hit_sum") == 9)
    first = good.sort_by([(name, "ascending") for name in names]).slice(0, 1).to_pylist()[0]
    return f"{first['assignment_id']}:{first['page_idx']}"


def rasterise(svg: str, corner: Path, png: Path) -> None:
    """Let Chromium draw the SVG WIDTH px wide, and keep 192 colours."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("chromium is not on the PATH; it turns the replay's SVG into pixels")
    page = corner / "replay.html"
    page.write_text(
        f"<!doctype html><style>body{{margin:0;background:#fff}}svg{{width:{WIDTH}px;"
        f"height:auto;display:block}}</style>{svg}"
    )
    shot = corner / "shot.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    window = f"--window-size={WIDTH},4000"
    command = [chromium, *options, window, f"--screenshot={shot}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    image = Image.open(shot).convert("RGB")
    inked = np.flatnonzero((np.asarray(image) < 230).any(axis=(1, 2)))
    image = image.crop((0, 0, WIDTH, min(image.height, int(inked[-1]) + 4)))
    image.quantize(192, dither=Image.Dither.NONE).save(png, optimize=True)


def main() -> None:
    """Write both pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        corner = Path(name)
        folder, images = dataset(corner), corner / "images"
        page = careful_page(folder)
        pictures_of(folder, page, images)
        rasterise(page_svg(folder, page, images=images), corner, PICTURES / "replay.png")
        fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
        luab_data.draw("quantiles", folder, ax=ax)
        fig.savefig(PICTURES / "statistic.png", dpi=150)
    for png in sorted(PICTURES.glob("*.png")):
        print(f"{png}: {png.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
