"""README, docs and the tree say what the code does. Run as a script to write the tables anew."""

from __future__ import annotations

import ast
import graphlib
import itertools
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from luab_data.checks.lint import chosen, rules_of
from luab_data.hub.about import authors, bibtex_fields
from luab_data.hub.card import column_table
from luab_data.kinds import ALL_KINDS, KINDS, Browsing, Kind
from luab_data.raw.bad_records import REPAIRS
from luab_train import recipe, sections
from luab_train.recipes import find_recipe
from luab_train.settings import described, field_types, flatten

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
COLUMNS = ROOT / "docs" / "columns.md"
RULES = ROOT / "docs" / "rules.md"
STATISTICS = ROOT / "docs" / "statistics.md"
RECIPES = ROOT / "docs" / "recipes.md"

GUIDES = [
    ROOT / "docs" / f"{name}.md" for name in ("convert", "load", "analyse", "train", "evaluate")
]
"""In the order in which their commands are run."""


def columns_page() -> str:
    parts = ["# Columns of every config\n\nWritten from `schema.py` and `schema_views.py`.\n"]
    for dataset, tables in ((name, kind.tables) for name, kind in ALL_KINDS.items()):
        for table in tables:
            parts.append(f"## `{dataset}`, `{table.config}`: one row per {table.row}\n")
            parts.append(column_table(table) + "\n")
            if table.optional:
                parts.append("Optional, made by `luab-data derive --columns`:\n")
                parts.append(column_table(replace(table, columns=table.optional)) + "\n")
        parts.append(f"## `{dataset}`: which function makes a column, and from what\n")
        derivation = ALL_KINDS[dataset].derivation
        parts += [derivation.registry.page(), *derivation.events.page().splitlines()[2:], ""]
    return "\n".join(parts)


def linked(source: str) -> str:
    """Citations `docs/page.md#anchor` as links from another page of docs/."""
    return re.sub(r"docs/([\w-]+\.md)#([\w-]+)", r"[\2](\1#\2)", source)


def statistics_page() -> str:
    parts = [
        "# Statistics of `luab-data stats`\n",
        "Written from the measures in `luab_data/statistics`. *Source* leads to the definition, an"
        " example and where it comes from; the rest is in the docstring of the function.\n",
        "Value and sample size `n`; a 95 % interval from a bootstrap over workers; and, where there"
        " is one, the *null*: what the value would be without the effect.\n",
    ]
    for dataset, kind in ALL_KINDS.items():
        measures = kind.statistics.measures
        parts += [f"## `{dataset}`\n", "| name | what | over | unit | by | null | source |"]
        parts.append("|---|---|---|---|---|---|---|")
        for m in measures:
            axes = " x ".join(name for name, _ in m.axes)
            cells = [f"`{m.name}`", m.doc, m.over, m.unit, axes, m.null_doc, linked(m.source)]
            parts.append(f"| {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts)


def rules_page() -> str:
    parts = [
        "# Lint rules of `luab-data check`\n",
        "Written from the rules in `luab_data/checks`. A finding is information: it never makes a"
        " dataset bad, only a row worth a look. `error`: the row contradicts itself; `warning`: the"
        " tool should not have written it; `info`: a known habit of the tool. *Source* leads to"
        " what the tool does.\n",
    ]
    for dataset, kind in ALL_KINDS.items():
        parts += [f"## `{dataset}`\n", "| rule | severity | rows of | meaning | source |"]
        parts.append("|---|---|---|---|---|")
        for r in chosen(rules_of(kind)):
            cells = [f"`{r.id}`", r.severity, f"`{r.config}`", r.doc, linked(r.source)]
            parts.append(f"| {' | '.join(cells)} |")
        parts.append("")
    parts += [
        "## What readers mend\n",
        "A value that a reader can tell is kept; `repaired` of the manifest counts how often, and"
        " `check` prints it.\n",
        "| repair | what was done |\n|---|---|",
        *(f"| `{name}` | {doc} |" for name, doc in REPAIRS.items()),
        "",
    ]
    return "\n".join(parts)


def recipe_page() -> str:
    """Every key of a recipe: its values and default from the dataclasses, its meaning from the text
    below the field.
    """
    parts = [
        "# Keys of a recipe\n",
        "Generated from `luab_train/recipe.py` and `luab_train/sections.py`. `--set KEY=VALUE`"
        " changes one; a key without a default is set by every recipe.\n",
    ]
    source = "".join((ROOT / "luab_train" / f"{n}.py").read_text() for n in ("recipe", "sections"))
    groups = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    for name in ("Recipe", "Data", "Model", "Mix", "Loss", "Optim", "Engine"):
        parts.append(f"## {'Top level' if name == 'Recipe' else f'`{name.lower()}.`'}\n")
        first, *_ = (ast.get_docstring(groups[name]) or "").split("\n\n")
        parts += [
            " ".join(first.split()) + "\n",
            "| key | values | default | meaning |",
            "|---|---|---|---|",
        ]
        prefix = "" if name == "Recipe" else f"{name.lower()}."
        for field, doc in itertools.pairwise(groups[name].body):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            if ast.unparse(field.annotation) in groups:
                continue
            said = ""
            if isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant):
                said = " ".join(str(doc.value.value).split())
            kind = described(
                field_types(vars(recipe).get(name) or vars(sections)[name])[field.target.id]
            )
            default = "" if field.value is None else f"`{ast.unparse(field.value)}`"
            cells = [f"`{prefix}{field.target.id}`", kind, default, said]
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parts.append("")
    return "\n".join(parts)


def anchors(page: str) -> set[str]:
    """Anchors of the headings of a Markdown page, as GitHub and MyST make them."""
    prose = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#{1,4} (.+)$", prose, re.MULTILINE)
    found = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert len(found) == len(set(found)), f"two headings of one name: {sorted(found)}"
    return set(found)


def cited_files() -> list[Path]:
    """Everything a reader meets: code, pages, notebooks, results."""
    folders = ("luab_data", "luab_train", "docs", "notebooks", "results", "benchmarks")
    kinds = {".py", ".md", ".ipynb", ".html", ".js"}
    inside = (p for folder in folders for p in (ROOT / folder).rglob("*") if p.suffix in kinds)
    return [path for path in inside if "_build" not in path.parts] + [*ROOT.glob("*.md")]


def test_every_citation_of_a_page_leads_to_an_anchor():
    """`docs/page.md#anchor` anywhere; `(page.md#anchor)` and `(#anchor)` in pages."""
    have = {page.name: anchors(page.read_text()) for page in (ROOT / "docs").glob("*.md")}
    broken = []
    for path in cited_files():
        text = path.read_text()
        cited = re.findall(r"docs/([\w-]+\.md)(?:#([\w-]+))?", text)
        if path.parent == ROOT / "docs":
            links = re.findall(r"\]\(([\w-]+\.md)?(?:#([\w-]+))?\)", text)
            cited += [(page or path.name, name) for page, name in links]
        for page, name in cited:
            if page not in have or (name and name not in have[page]):
                broken.append(f"{path.relative_to(ROOT)}: {page}#{name}")
    assert not broken, "\n".join(broken)


def test_every_path_that_a_page_names_is_there():
    named = re.compile(r"(?<![\w/])((?:luab_data|luab_train|docs)/[\w./-]+)")
    pages = [README, ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    missing = [
        f"{page.name}: {path}"
        for page in pages
        if page.name != "changelog.md"
        for path in named.findall(re.sub(r"https?://\S+", "", page.read_text()))
        if not (ROOT / path.rstrip(".")).exists()
    ]
    assert not missing, "\n".join(missing)


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    (paper,) = citation["references"]
    cited = bibtex_fields(KINDS["imagenet-ab"].about.citation)
    assert paper["authors"] == authors(cited) and paper["title"] == cited["title"]


def test_the_page_of_keys_follows_from_the_recipe():
    page = RECIPES.read_text()
    assert recipe_page() == page, "run `python tests/test_docs.py`"
    for key in flatten(find_recipe("debug:tiny")):
        assert f"| `{key}` |" in page


def test_the_pages_of_statistics_and_rules_follow_from_the_code():
    assert statistics_page() == STATISTICS.read_text(), "run `python tests/test_docs.py`"
    assert rules_page() == RULES.read_text(), "run `python tests/test_docs.py`"


def test_the_column_tables_follow_from_the_schema():
    assert columns_page() == COLUMNS.read_text(), "run `python tests/test_docs.py`"


def commands(group: click.Group, prefix: str) -> list[tuple[str, click.Command]]:
    found = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        path = f"{prefix} {name}"
        if isinstance(command, click.Group):
            found += commands(command, path)
        else:
            found.append((path, command))
    return found


def all_commands() -> list[tuple[str, click.Command]]:
    from luab_data.cli import main as data
    from luab_train.cli import main as train

    return commands(data, "luab-data") + commands(train, "luab-train")


@pytest.mark.parametrize(("path", "command"), all_commands())
def test_every_command_has_help_and_its_verb_is_explained(path: str, command: click.Command):
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{path} {option.name}"
    verb = " ".join(path.split()[:2])
    assert verb in README.read_text() or verb == "luab-train demo"
    which_when = (ROOT / "docs" / "troubleshooting.md").read_text()
    assert verb in which_when or verb == "luab-train demo"


def test_the_options_of_luab_train_do_not_grow_by_themselves():
    """Adding one is a decision about the public interface: add it here too.

    Those of luab-data are in goldens/cli.json.
    """
    found = {path: sorted(p.name for p in c.params if p.name) for path, c in all_commands()}
    assert {path: names for path, names in found.items() if path.startswith("luab-train")} == {
        "luab-train demo": ["fast", "force", "minutes", "out", "seeds"],
        "luab-train eval": [
            *("arch", "batch_size", "benchmarks", "box_convention", "boxes", "data"),
            *("erase_below", "erase_dilation", "images", "list_them", "model", "name", "on_bad"),
            *("out", "precision", "preprocessing", "pretrained", "random_weights", "root"),
            *("weights_key", "workers"),
        ],
        "luab-train export": ["force", "out", "run_folder"],
        "luab-train predict": [
            *("arch", "as_json", "force", "images", "model", "out", "preprocessing"),
            *("pretrained", "random_weights", "top", "weights_key"),
        ],
        "luab-train recipes": ["diff", "name"],
        "luab-train report": ["allow_different", "force", "out", "reference", "root", "runs"],
        "luab-train transfer": [
            *("annotations", "images", "out", "resume", "settings", "source", "val"),
            "val_annotations",
        ],
        "luab-train run": [
            *("batch_size", "calibrated", "data", "epochs", "images", "keep", "lr", "out"),
            *("points", "recipe", "resume", "seed", "settings", "target", "val", "val_boxes"),
        ],
    }


def test_the_tree_of_the_readme_is_the_tree():
    tree = README.read_text().split("## The tree")[1].split("```")[1]
    for package in ("luab_data", "luab_train"):
        told = re.split(r"^\w+/", tree.split(f"{package}/")[1], flags=re.MULTILINE)[0]
        folders = {p.name for p in (ROOT / package).glob("*/") if not p.name.startswith("__")}
        assert {*re.findall(r"^  (\w+)/", told, re.MULTILINE)} == folders


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports when it is loaded (not inside functions)."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inside = ROOT.joinpath(*node.module.split("."), alias.name)
                is_module = inside.is_dir() or inside.with_suffix(".py").is_file()
                found.add(f"{node.module}.{alias.name}" if is_module else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name for name in found if name.split(".")[0] in ("luab_data", "luab_train")}


_CIRCLES = {("reports", "figures")}  # to be opened


@pytest.mark.parametrize(
    ("package", "known"),
    [("luab_data", ("luab_data",)), ("luab_train", ("luab_data", "luab_train"))],
)
def test_imports_run_one_way(package, known):
    """No circle among modules, and none among the stages of the tree."""
    modules: dict[str, set[str]] = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        modules[dotted] = imports(path)
    for name, found in modules.items():
        assert all(other.startswith(known) for other in found), name
        modules[name] = {other for other in found if other in modules and other != name}
    stages: dict[str, set[str]] = {}
    for name, found in modules.items():
        own, *others = ((f"{n}.".split(".")[1]) for n in (name, *found))
        stages.setdefault(own, set()).update(
            stage for stage in others if stage and stage != own and (own, stage) not in _CIRCLES
        )
    for graph in (modules, stages):
        graphlib.TopologicalSorter(graph).prepare()  # CycleError names a circle


def test_every_kind_of_log_has_all_that_a_kind_may_have_for_a_stage():
    later = {*Kind.__annotations__} - {*vars(Kind), *vars(Browsing)} - {"stages"}
    for kind in KINDS.values():
        assert {*kind.stages} == later - {"from_views"}
        assert all(getattr(kind, stage) is not None for stage in kind.stages)


def test_kinds_alone_tells_kinds_of_logs_apart():
    """No other module compares with the name of a dataset, nor looks something up by it."""
    paths = (
        path for package in ("luab_data", "luab_train") for path in (ROOT / package).rglob("*.py")
    )
    for path in sorted(paths):
        for node in ast.walk(ast.parse(path.read_text())):
            keys = node.keys if isinstance(node, ast.Dict) else []
            asked = [node] if isinstance(node, ast.Compare | ast.Match) else keys
            named = {n.value for part in asked if part for n in ast.walk(part) if is_text(n)}
            kinds = {n.id for part in asked if part for n in ast.walk(part) if is_name(n)}
            if path.name != "kinds.py":
                assert not named & {*ALL_KINDS}, f"{path}:{node.lineno}"
                assert not kinds & {"BROWSING", "TAGGING"}, f"{path}:{node.lineno}"


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name)


def test_every_module_can_be_read_at_one_sitting():
    for path in sorted([*(ROOT / "luab_data").rglob("*.py"), *(ROOT / "luab_train").rglob("*.py")]):
        assert len(path.read_text().splitlines()) <= 350, path


def test_public_names_are_documented_and_load_lazily():
    import luab_data

    assert dir(luab_data) == sorted([*luab_data.__all__, "__version__"])
    for name in luab_data.__all__:
        assert getattr(luab_data, name).__doc__, name
        # A module of that name would take the place of the function once it is imported.
        module = ROOT / "luab_data" / name
        assert name == "splits" or not (module.is_dir() or module.with_suffix(".py").is_file())
    with pytest.raises(AttributeError, match="nonsense"):
        luab_data.nonsense  # noqa: B018


def test_splits_come_with_the_package():
    code = "import luab_data; print(luab_data.splits.by_hit.__name__)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert found.stdout == "by_hit\n", found.stderr


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def lines(page: Path) -> list[list[str]]:
    """The commands of a page, word by word."""
    found = [line for block in blocks(page, "bash") for line in block.strip().splitlines()]
    return [shlex.split(line, comments=True) for line in found]


def run_python(folder: Path, *codes: str) -> list[str]:
    """What each piece of code prints, all in one process, none seeing the names of another."""
    code = (
        "import sys\nfor code in sys.argv[1:]:\n exec(code, {'__name__': '__main__'}); print('\\f')"
    )
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *codes],
        capture_output=True, text=True, cwd=folder, timeout=120,
        env={**os.environ, "HF_HOME": str(folder / "hf")},
    )  # fmt: skip
    said = found.stdout.split("\f")[:-1]
    assert found.returncode == 0, f"{codes[len(said)]}\n{found.stderr}"
    return said


def test_the_readme_is_short_and_shows_its_pictures():
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    pictures = re.findall(r"!\[[^\]]+\]\((\S+)\)", text)
    assert len(pictures) == 2
    for picture in pictures:
        assert 0 < (ROOT / picture).stat().st_size < 300_000, picture


def test_the_python_of_the_readme_works_as_pasted(tmp_path: Path):
    load, make = blocks(README, "python")
    made, loaded = run_python(tmp_path, make, load)
    assert "[[8.0, 8.0, 40.0, 40.0]]" in made and "n00000001_" in loaded


def test_what_the_guides_do_with_data_works_as_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In this process, so that it takes seconds: the lines of luab-data, then the Python."""
    from luab_data.cli import main
    from luab_train.demo.scenes import write_images

    (tmp_path / "demo").mkdir()
    write_images(tmp_path / "demo" / "images", 600, 150)
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    for page in GUIDES:
        for program, *words in lines(page):
            if program == "luab-data":
                found = CliRunner().invoke(main, words)
                assert found.exit_code == 0, f"{words}\n{found.output}{found.exception}"
    run_python(tmp_path, *(code for page in GUIDES for code in blocks(page, "python")))
    assert time.monotonic() - began < 120


@pytest.mark.slow
@pytest.mark.parametrize("pages", [[README], GUIDES], ids=["readme", "guides"])
def test_every_command_works_as_pasted(pages: list[Path], tmp_path: Path):
    bin_folder = Path(sys.executable).parent
    demo = ["luab-train", "demo", "--fast", "--out", "demo"]
    for program, *words in [demo, *(line for page in pages for line in lines(page))]:
        found = subprocess.run(
            [str(bin_folder / program), *words],
            capture_output=True, text=True, cwd=tmp_path, timeout=300,
        )  # fmt: skip
        assert found.returncode == 0, f"{program} {words}\n{found.stdout}\n{found.stderr}"
    assert (tmp_path / "report" / "report.md").is_file()


def test_the_python_pages_name_every_public_name():
    import luab_data
    import luab_train

    for package, page in ((luab_data, "python-data.md"), (luab_train, "python-train.md")):
        text = (ROOT / "docs" / page).read_text()
        for name in package.__all__:
            assert re.search(rf"::? {package.__name__}\.{name}$", text, re.MULTILINE), (
                f"{name}: {page}"
            )


if __name__ == "__main__":
    COLUMNS.write_text(columns_page())
    RECIPES.write_text(recipe_page())
    STATISTICS.write_text(statistics_page())
    RULES.write_text(rules_page())
