"""The systemd units start commands as these are."""

import configparser
import shlex
from pathlib import Path

import pytest

from tests.calls import sluicegate

DEPLOY = Path(__file__).parents[2] / "deploy"


def words(name: str) -> list[str]:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(DEPLOY / name)
    return shlex.split(unit["Service"]["ExecStart"])


def test_the_followers_unit_names_every_option_that_it_needs_and_none_that_it_lacks() -> None:
    from typer.main import get_command_from_info  # noqa: PLC0415
    from typer.models import CommandInfo  # noqa: PLC0415

    from governance.follow.__main__ import main  # noqa: PLC0415

    program, flag, module, *options = words("sluicegate-follower.service")
    assert (Path(program).name, flag, module) == ("python", "-m", "governance.follow")
    command = get_command_from_info(
        CommandInfo(name="follow", callback=main),
        pretty_exceptions_short=False,
        rich_markup_mode=None,
    )
    known = {word: p.required for p in command.params for word in p.opts}
    told = set(options[::2])
    assert told <= set(known)
    assert {word for word, needed in known.items() if needed} <= told


@pytest.mark.parametrize("name", ["sluicegate.service"])
def test_the_gateways_unit_starts_a_command_that_there_is(name: str) -> None:
    program, verb, *options = words(name)
    assert Path(program).name == "sluicegate"
    shown = sluicegate(verb, "--help").stdout
    assert all(word in shown for word in options if word.startswith("--"))
