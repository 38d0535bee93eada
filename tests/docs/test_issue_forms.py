"""The forms for issues are what GitHub reads, and ask for what is needed."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.docs.pages import ROOT, anchors, blocks, headings, links, read

FOLDER = ROOT / ".github" / "ISSUE_TEMPLATE"
FORMS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.yml")}
CONFIG = FORMS.pop("config")
ALLOWED = {
    "markdown": {"value"},
    "input": {"label", "description", "placeholder", "value"},
    "textarea": {"label", "description", "placeholder", "value", "render"},
    "dropdown": {"label", "description", "options", "multiple", "default"},
    "checkboxes": {"label", "description", "options"},
}
ACCEPTANCE = read(ROOT / "docs/acceptance.md")


def fields(form):
    return [element for element in form["body"] if element["type"] != "markdown"]


@pytest.mark.parametrize("name", FORMS)
def test_a_form(name):
    form = FORMS[name]
    assert {"name", "description", "body"} <= form.keys() <= {"name", "description", "title", "labels", "body"}
    assert all(isinstance(text, str) and text for text in (form["name"], form["description"]))
    assert all(isinstance(label, str) for label in form["labels"])
    assert fields(form)
    for element in form["body"]:
        assert element.keys() <= {"type", "id", "attributes", "validations"}
        assert element["attributes"].keys() <= ALLOWED[element["type"]]


@pytest.mark.parametrize("name", FORMS)
def test_the_fields_of_a_form(name):
    identities = [field["id"] for field in fields(FORMS[name])]
    labels = [field["attributes"]["label"] for field in fields(FORMS[name])]
    assert len(set(identities)) == len(set(labels)) == len(identities)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", identity) for identity in identities)
    assert all(isinstance(field["validations"]["required"], bool) for field in fields(FORMS[name]))
    for field in fields(FORMS[name]):
        options = field["attributes"].get("options", [])
        assert all(isinstance(option, str) for option in options), "yes and no are truth values to YAML"
        assert len(set(options)) == len(options)


def test_the_links_of_the_forms():
    """GitHub shows a form at /issues/new, from where ../blob/HEAD leads to the project's files."""
    texts = [element["attributes"].get("value", "") for form in FORMS.values() for element in form["body"]]
    found = links("\n\n".join(texts))
    assert found
    for link in found:
        path, _, anchor = link.target.removeprefix("../blob/HEAD/").partition("#")
        assert (ROOT / path).is_file(), link.target
        assert not anchor or anchor in anchors(read(ROOT / path)), link.target


def test_what_a_report_must_say():
    required = {field["id"] for field in fields(FORMS["bug"]) if field["validations"]["required"]}
    assert required >= {"webui", "extension", "gpu", "infotext", "log", "expected", "happened", "alone"}


def test_the_protocols_table_is_that_of_its_form():
    (table,) = (block.text for block in blocks(ACCEPTANCE) if block.language == "markdown")
    (results,) = (field for field in fields(FORMS["acceptance"]) if field["id"] == "results")
    assert results["attributes"]["value"] == table
    steps = {int(row) for row in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert steps == set(range(1, 13))


def test_the_protocol_names_the_forms():
    for name in ("acceptance", "bug"):
        assert f"*{FORMS[name]['name']}*" in ACCEPTANCE


def test_the_protocol_is_an_hour():
    minutes = [int(number) for number in re.findall(r"^\| \[\d+\. .* \| (\d+) \|$", ACCEPTANCE, re.MULTILINE)]
    assert len(minutes) == len([heading for heading in headings(ACCEPTANCE) if heading[0].isdigit()])
    assert sum(minutes) == 60


def test_the_choice_of_forms():
    assert CONFIG.keys() <= {"blank_issues_enabled", "contact_links"}
    assert all(link.keys() == {"name", "url", "about"} for link in CONFIG["contact_links"])
