"""A fleet that was made by the commands."""

import pytest

from tests.governance.command_line import AUDIENCE, PEOPLE, WORDS, Fleet, run


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEGATE_PASSPHRASE", WORDS)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    folder = tmp_path_factory.mktemp("fleet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICEGATE_PASSPHRASE", WORDS)
        enrolled: list[object] = []
        for person, roles in PEOPLE.items():
            run("keys", "new", "--out", folder / f"{person}.pem")
            enrolled += ["--key", f"{person}={roles}={folder / f'{person}.pem.pub'}"]
        text = folder / "policy.toml"
        run("policy", "init", "--audience", AUDIENCE, "--out", text, *enrolled)
        signed = folder / "policy.json"
        run("policy", "sign", text, "--key", folder / "olga.pem", "--out", signed)
    return Fleet(folder, signed)


@pytest.fixture
def fleet(made: Fleet) -> Fleet:
    made.out.unlink(missing_ok=True)
    return made
