"""Front matter: one form is read, and a tenant in any other one fails."""

import pytest

from router.indexing.content import UnknownTenantError
from router.indexing.parsers.front_matter import split_front_matter
from router.indexing.parsers.markdown import read_markdown


@pytest.mark.parametrize(
    ("line", "tenant"),
    [
        ("tenant: acme", "acme"),
        ("tenant:  acme co  ", "acme co"),
        ("tenant: 'acme'", "acme"),
        ('tenant: "acme: ours"', "acme: ours"),
        ("tenant: o'neill#1", "o'neill#1"),
        ('tenant: ""', ""),
        ("tenant: ", None),
        ("tenant:", None),
        ("title: A tenant's rights", None),
    ],
)
def test_a_tenant_in_the_form_that_is_read(line: str, tenant: str | None) -> None:
    content = read_markdown(f"---\n{line}\n---\ntext".encode())
    assert content.tenant == tenant
    assert content.parts[0].text == "text"


@pytest.mark.parametrize(
    "lines",
    [
        "Tenant: acme",
        "TENANT : acme",
        '"tenant": acme',
        " tenant: acme",
        "\ttenant: acme",
        "- tenant: acme",
        "meta:\n  tenant: acme",
        "tenant:\n  - acme",
        "tenant:\n- acme",
        "tenant:\n\n  acme",
        "tenant: acme\n  corp",
        "tenant: >\n  acme",
        "tenant: |\n  acme",
        "tenant: [acme]",
        "tenant: {acme}",
        "tenant: &a acme",
        "tenant: acme # ours",
        "tenant: acme: ours",
        "tenant: 'acme",
        "tenant: null",
        "tenant: ~",
        "tenant:acme",
        "tenant = acme",
        "tenants: [acme]",
        "tenant_id: acme",
        "? tenant\n: acme",
        "{title: x, tenant: acme}",
        "tenant: acme\ntenant: globex",
    ],
)
def test_a_tenant_in_any_other_form_fails(lines: str) -> None:
    with pytest.raises(UnknownTenantError, match="tenant: NAME"):
        read_markdown(f"---\ntitle: x\n{lines}\n---\ntext".encode())
    with pytest.raises(UnknownTenantError, match="tenant: NAME"):
        read_markdown(f"---\n{lines}\n---\ntext".encode())


@pytest.mark.parametrize(
    "text",
    [
        "\n---\ntenant: acme\n---\ntext",
        " ---\ntenant: acme\n---\ntext",
        "\ufeff\ufeff---\ntenant: acme\n---\ntext",
        "\u200b---\ntenant: acme\n---\ntext",
        "---\n\ntenant: acme\n---\ntext",
        "---\ntenant: acme\n...\ntext",
        "---\ntenant: acme\ntext",
        "----\ntenant: acme\n----\ntext",
        "--- # front\ntenant: acme\n---\ntext",
        "---\nsome prose\ntenant: acme\n---\ntext",
        "+++\ntenant = 'acme'\n+++\ntext",
        '{"tenant": "acme"}\n\ntext',
    ],
)
def test_a_tenant_in_front_matter_that_isnt_read_fails(text: str) -> None:
    with pytest.raises(UnknownTenantError):
        read_markdown(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "---\n\nfirst paragraph\n\n---\nrest",
        "---\nfirst paragraph\n---\nrest",
        "---\n\nnote: this\n\n---\nrest",
        "---\n---x\n",
        "# Lease\n\nTenant: Bob\n\n---\n",
        "---\n\nLease\n\n---\n\nTenant: Bob",
    ],
)
def test_text_between_rules_is_kept(text: str) -> None:
    assert split_front_matter(text) == ({}, text)


def test_longer_values_are_passed_over_and_empty_ones_are_absent() -> None:
    content = read_markdown(
        b"---\ntags:\n- a\n  - b\nlist: [a,\n  b\n]\n# a comment\n\ntitle: >\n  long\n"
        b"date: \nuri: ''\n---\n# Heading"
    )
    assert (content.title, content.updated_at, content.uri) == ("Heading", None, "")
    assert content.parts[0].text == "# Heading"
