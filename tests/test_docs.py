"""The pages name what is there."""

import importlib.util
import inspect
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
import typer
import yaml

import l3ae_dist
from l3ae_dist.cli.app import app
from l3ae_dist.config.load import make_config
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.linalg import closed_form, heads

PACKAGE = Path(l3ae_dist.__file__).parent
PAGE = PACKAGE.parent / "docs" / "mathematics.md"
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def page():
    if not PAGE.exists():
        pytest.skip("the documentation is not part of an installed package")
    return PAGE.read_text()


def test_every_function_named_beside_an_equation_is_one_of_the_equations_in_memory(page):
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| ")]
    named = {
        name
        for row in rows
        if row[1].strip() not in ("equation", "member") and "=" in row[1]
        for name in re.findall(r"`(\w+)`", row[2])
    }
    assert {"semantic_dense", "l3ae_dense", "scores"} <= named
    known = {*vars(closed_form), *vars(heads)}
    assert sorted(named - known) == []


def test_every_place_in_the_package_exists(page):
    places = re.findall(r"`([\w/]+\.py)(?:: ([\w.]+))?`", page)
    assert len(places) > 5
    for file, names in places:
        found = [path for path in (PACKAGE / file, PACKAGE.parent / file) if path.exists()]
        assert found, file
        for name in filter(None, names.split(".")):
            assert re.search(rf"(def|class) {name}\b", found[0].read_text()), (file, name)


# ---- what is made from the code


@pytest.fixture(scope="module")
def extension():
    """A module of ``docs/_ext`` by name."""
    folder = ROOT / "docs" / "_ext"

    def load(name):
        spec = importlib.util.spec_from_file_location(f"docs_{name}", folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_every_function_of_the_closed_form_is_beside_an_equation(page):
    own = {
        name
        for name, thing in vars(closed_form).items()
        if inspect.isfunction(thing) and thing.__module__ == closed_form.__name__ and name[0] != "_"
    }
    assert sorted(own - set(re.findall(r"`(\w+)`", page))) == []


def test_every_value_of_the_configuration_is_in_its_reference_with_a_description(extension):
    schema = RunConfig.model_json_schema()  # pydantic's own walk through the models
    fields = {name for model in [schema, *schema["$defs"].values()] for name in model["properties"]}
    reference = extension("generated")
    entries = list(reference.entries())
    assert {entry.key.rpartition(".")[2] for entry in entries} == fields
    count = sum(len(model["properties"]) for model in [schema, *schema["$defs"].values()])
    assert len(entries) == count
    assert [entry.key for entry in entries if len(entry.text) < 5] == []
    text = reference.configuration()
    for entry in entries:
        heading = f"## {entry.key}\n" if entry.section else f"```{{confval}} {entry.key}\n"
        assert text.count(heading) == 1, entry.key


def test_the_reference_tells_types_limits_defaults_and_variables(extension):
    text = extension("generated").configuration()
    found = dict(re.findall(r"```\{confval\} (\S+)\n(.*?)```\n", text, re.DOTALL))
    assert "size in bytes, or such as `2GiB`, greater than 0" in found["compute.memory_budget"]
    assert ":default: `2GiB`" in found["compute.memory_budget"]
    assert ":type: number, at least 0; or null" in found["model.alpha"]
    assert ":default: none, it must be given" in found["workspace"]
    assert "`L3AE__DATA__OPTIONS__SPLIT`" in found["data.options.split"]
    assert ":type: number, greater than 0, less than 0.5" in found["data.options.heldout_users"]


def test_every_command_and_option_is_in_the_reference(extension):
    text = extension("generated").command_line()
    groups = [("", app), *((f"{group.name} ", group.typer_instance) for group in app.registered_groups)]
    names = {
        f"{prefix}{command.name or command.callback.__name__}"
        for prefix, part in groups
        for command in part.registered_commands
    }
    assert set(re.findall(r"^## l3ae-dist (.*)$", text, re.MULTILINE)) == names
    for name, command in COMMANDS.items():
        section = text.partition(f"## l3ae-dist {name}\n")[2].partition("\n## ")[0]
        for parameter in command.params:
            assert parameter.help, f"{name} does not describe {parameter.name}"
            assert parameter.name == "help" or max(parameter.opts, key=len).lower() in section.lower()


def test_a_returns_section_of_prose_becomes_one_field(extension):
    lines = (
        "Summary.\n\nReturns\n-------\nA table: one,\ntwo.\n\nMore.\n\nRaises\n------\nConfigError\n    No."
    )
    rest, field = extension("docstrings").without_returns(lines.split("\n"))
    assert field == [":returns: A table: one,", "    two.", "", "    More.", ""]
    assert rest == ["Summary.", "", "Raises", "------", "ConfigError", "    No."]


def test_what_a_page_loads_from_the_network_is_found(extension):
    found = extension("offline").from_elsewhere
    assert found('<script src="https://cdn.example.org/x.js">') == ['<script src="https://']
    assert found('<link rel="stylesheet" href="//fonts.example.org/a.css" />')
    assert found("@import url(https://fonts.example.org/a)")
    assert not found('<a href="https://arxiv.org/abs/2508.13500"><img src="_static/a.png">')


def test_the_diagram_has_a_text_alternative():
    found = ElementTree.parse(ROOT / "docs" / "_static" / "architecture.svg").getroot()
    names = {element.get("id"): element.text for element in found}
    wanted = found.get("aria-labelledby").split()
    assert all(names[name] for name in wanted)
    assert found.get("role") == "img"


# ---- what pages say about commands, files and settings

PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("cluster/**/*.md")]
    if "_build" not in path.parts and path.name != "CHANGELOG.md"
)
# Folders that a page names and a workspace, a service or a build makes.
ARTIFACTS = {
    f"{kind}/"
    for kind in [
        "items",
        "users",
        "interactions",
        "meta",
        "words",
        "roots",
        "models",
        "scores",
        "semantic",
        "crosses",
    ]
}
ELSEWHERE = {"dask/array/linalg.py", "jobqueue.py"}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def names_of(path):
    return str(path.relative_to(ROOT))


def flat(command, prefix=""):
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from flat(inner, f"{name} ")
        else:
            yield prefix + name, inner


COMMANDS = dict(flat(typer.main.get_command(app)))


def code_of(path):
    """Blocks of a page as (language, text), and its code spans with the language None."""
    text = path.read_text()
    blocks = re.findall(r"^ *```(\S*)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(r"(?:^    .+\n)+", prose, re.MULTILINE)
    spans = re.findall(r"`([^`]+)`", re.sub(r"(?:^    .+\n)+", "", prose, flags=re.MULTILINE))
    return [*blocks, *(("", block) for block in indented), *((None, " ".join(s.split())) for s in spans)]


def lines_of(path, program):
    """Command lines of a program on a page, and whether each is a line of its own."""
    for language, text in code_of(path):
        if language not in (None, "", "sh", "bash"):
            continue
        for line in text.replace("\\\n", " ").split("\n"):
            words = re.sub(r"\s#.*", "", line).strip().removeprefix(".venv/bin/")
            if re.match(rf"{program}(\s|$)", words) and not re.search(r"COMMAND|\.\.\.|\[", words):
                yield re.split(r"\s(?:\||&&|;|>)", words)[0], language is not None


@pytest.mark.parametrize("path", PAGES, ids=names_of)
def test_links_to_files_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?:|#|mailto:", target):
            assert (path.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("path", PAGES, ids=names_of)
def test_files_and_folders_named_on_pages_exist(path):
    """A module by its path in the package or the repository, or, in its folder's section, by its name alone."""
    for language, text in code_of(path):
        place, _, name = text.partition(": ")
        if language is not None or not re.fullmatch(r"[a-z_][\w/]*(\.py|/)", place) or "/" in name:
            continue
        found = [*PACKAGE.rglob(place), *ROOT.glob(place)]
        assert found or place in ARTIFACTS | ELSEWHERE, place
        if re.fullmatch(r"\w+", name):
            assert any(re.search(rf"(def|class) {name}\b", file.read_text()) for file in found), text


@pytest.mark.parametrize("path", PAGES, ids=names_of)
def test_command_lines_parse(path):
    for line, whole in lines_of(path, "l3ae-dist"):
        words = shlex.split(line)[1:]
        while words and words[0] in ("--debug", "--version", "--help"):
            words = words[1:]
        if not words:
            continue
        name = next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), None)
        if name is None:
            assert words in (["cluster"],), line
            continue
        arguments = words[len(name.split()) :]
        options = {option for p in COMMANDS[name].params for option in (*p.opts, *p.secondary_opts)}
        assert [w for w in arguments if re.match(r"--?[a-z]", w) and w.partition("=")[0] not in options] == []
        if whole:  # everything that is needed is given, and nothing else
            COMMANDS[name].make_context(name, list(arguments))


@pytest.mark.parametrize("path", PAGES, ids=names_of)
def test_make_targets_exist(path):
    for line, _ in lines_of(path, "make"):
        assert [w for w in shlex.split(line)[1:] if "=" not in w and w not in TARGETS | {"NAME"}] == [], line


@pytest.mark.parametrize("path", PAGES, ids=names_of)
def test_configurations_are_valid(path):
    for language, text in code_of(path):
        if language == "yaml":
            given = {"workspace": "./workspace", **yaml.safe_load(text)}
            assert set(given) <= make_config(given).model_fields_set, text


@pytest.mark.parametrize("path", PAGES, ids=names_of)
def test_python_on_pages_compiles(path):
    for language, text in code_of(path):
        if language == "python" and ">>>" not in text:  # examples with a prompt are run by make docs
            assert compile(text, str(path), "exec").co_code, text


def test_the_tables_of_the_quickstart_are_what_its_configuration_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = code_of(ROOT / "docs" / "quickstart.md")
    exec(next(text for language, text in blocks if language == "python"), {})
    config = make_config(yaml.safe_load(next(text for language, text in blocks if language == "yaml")))
    options = config.data.options
    log, items = (pd.read_parquet(source) for source in (config.data.interactions, config.data.items))
    assert {options.user_column, options.item_column} <= set(log)
    assert {options.catalog_id_column, options.title_column, *options.text_columns} <= set(items)
    assert set(log[options.item_column]) <= set(items[options.catalog_id_column])
    assert len(items) == 640


def test_the_examples_of_the_commands_parse():
    from l3ae_dist.cli.app import PANELS

    for panel in PANELS.values():
        for command, example in panel.items():
            name, *arguments = shlex.split(example)
            assert name == command.__name__
            COMMANDS[name].make_context(name, arguments)
            assert f"l3ae-dist {example}" in COMMANDS[name].epilog
