"""The deciding part of the configuration, and the strictness of all of it."""

import tomllib
from pathlib import Path

import pytest

from policies.errors import SettingsError
from policies.settings import PolicySettings, read_policy_settings
from policies.strict_toml import decode_strictly


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ('[arms.a]\nroute = "finetuned"\nexpect = {}', "did you mean 'expected'"),
        ('[arms.a]\nroute = "finetund"', "arms.a.route"),
        ("[arms.a]\nk = 3", "route"),
        ('[arms.a]\nroute = "hybrid"\nk = "3"', "arms.a.k"),
        ("[objectives.x]\nquality = nan", "finite"),
        ("[objectives.x]\nquality = 1e308", "at most"),
        ('[arms.a]\nroute = "hybrid"\nexpected = { cost_usd = nan }', "expected.cost_usd"),
        ('[arms.a]\nroute = "hybrid"\nexpected = { quality = 1.5 }', "expected.quality"),
        ('[arms.a]\nroute = "hybrid"\nk = 0', "k must lie in 1..100"),
        ('[arms."a b"]\nroute = "hybrid"', "name"),
        ('[arms.hybrid]\nroute = "finetuned"', "named like a route"),
        ('[[rules]]\nonly = ["hybrid"]\n[[rules]]\nforbid = ["hybrid"]', "no arm"),
        ('[[rules]]\nwhen = { attribute = "a", equals = { x = 1 } }', "rules[0].when.equals"),
        ("[objectives.x]", "other than zero"),
        ('default_objective = "balancd"', "did you mean 'balanced'"),
        ("[exploration]\nfloor = 2.0", "floor"),
        ('[exploration]\nkind = "thomson"', "exploration.kind"),
        ('[[rules]]\nrequire = ["citations"]', "sources"),
        ('[[rules]]\nforbid = ["finetund"]', "did you mean 'finetuned'"),
        ('[[rules]]\nwhen = { attribute = "a", equals = "b" }', "does nothing"),
        ("[out_of_distribution]\nalpha = 1.0", "alpha must lie from 0 to below 1"),
        ('[out_of_distribution]\nsafe_arm = "retreive"', "did you mean 'retrieve'"),
        (
            '[arms.a]\nroute = "hybrid"\n[out_of_distribution]\nsafe_arm = "retrieve"',
            "no configured arm",
        ),
        ('[out_of_distribution]\nsafearm = "a"', "did you mean 'safe_arm'"),
        ('[[rules]]\nwhen = { atribute = "a" }', "rules[0].when.atribute"),
    ],
)
def test_a_wrong_key_or_value_is_an_error_that_names_it(toml: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        decode_strictly(tomllib.loads(toml), PolicySettings)
    assert message in str(caught.value)


def test_without_a_file_the_three_default_arms_stand(tmp_path: Path) -> None:
    settings = read_policy_settings(None)
    assert [arm.route for arm in settings.arm_list()] == ["finetuned", "retrieve", "hybrid"]


def test_the_services_own_tables_are_left_to_the_service(tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text('[redis]\nurl = "redis://x"\n[objectives.mine]\nquality = 2.0\n')
    assert read_policy_settings(path).all_objectives()["mine"] == {"quality": 2.0}


@pytest.mark.parametrize("content", [b"[", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "router.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"router\.toml"):
        read_policy_settings(path)


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        read_policy_settings(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[exploraton]\nfloor = 0.1\n", "unknown key 'exploraton' (did you mean 'exploration'?)"),
        ('[rediss]\nurl = "redis://x"\n', "did you mean 'redis'"),
    ],
)
def test_a_table_that_nobody_reads_is_an_error_that_names_the_nearest(
    tmp_path: Path, toml: str, message: str
) -> None:
    path = tmp_path / "router.toml"
    path.write_text(toml)
    with pytest.raises(SettingsError) as caught:
        read_policy_settings(path)
    assert message in str(caught.value)
