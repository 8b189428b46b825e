import socket
import time

import pytest
from huggingface_hub import constants

from kdfeatures import hub
from kdfeatures.errors import UserError
from kdfeatures.models.configs import load_config


class Session:
    """Stands for the Hub: answers, or raises what a client raises."""

    def __init__(self, error=None):
        self.error, self.asked = error, []

    def head(self, url, **options):
        self.asked.append((url, options))
        if self.error:
            raise self.error


@pytest.fixture
def session(monkeypatch):
    """Return a maker of the Hub as the package sees it, with the environment's word for "offline" taken back."""

    def make(error=None):
        made = Session(error)
        monkeypatch.setattr(hub, "get_session", lambda: made)
        return made

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return make


def refused(name="org/nothing"):
    with pytest.raises(UserError) as caught:
        hub.require_model(name, f"teacher.path={name}")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("error", [ConnectionError("refused"), TimeoutError("late"), RuntimeError("proxy")])
def test_no_network_is_one_line_that_names_the_model_and_the_way_out(session, error):
    session(error)
    assert refused() == (
        f"teacher.path=org/nothing: no such folder, and the Hub at {constants.ENDPOINT} does not answer; "
        "give a local folder."
    )


def test_a_hub_that_answers_is_asked_once_and_briefly(session):
    asked = session().asked
    hub.require_model("org/nothing", "teacher.path=org/nothing")
    assert asked == [(constants.ENDPOINT, {"timeout": hub.PROBE_SECONDS})]
    assert hub.PROBE_SECONDS <= 5


def test_a_hub_that_is_silent_is_given_up_after_the_probe(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(hub, "PROBE_SECONDS", 0.2)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        start = time.monotonic()
        assert "does not answer" in refused()
    assert time.monotonic() - start < 3


def test_hf_hub_offline_asks_nobody(session, monkeypatch):
    asked = session().asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    told = refused()
    assert told.startswith("teacher.path=org/nothing: no such folder, and the model 'org/nothing' is not in the local")
    assert "HF_HUB_OFFLINE=1" in told and "give a local folder, or unset HF_HUB_OFFLINE" in told
    assert not asked


def test_a_model_in_the_local_cache_needs_no_network(session, monkeypatch, tmp_path):
    asked = session(OSError("no route")).asked
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda name, file: str(tmp_path / file))
    hub.require_model("org/cached", "teacher.path=org/cached")
    assert not asked


@pytest.mark.parametrize("name", ["my model", "a--b", ".hidden", "x" * 100])
def test_a_name_that_no_model_can_have_is_refused_without_asking(session, name):
    asked = session().asked
    assert refused(name) == f"teacher.path={name}: no such folder, and no model on the Hub can have this name."
    assert not asked


def test_loading_goes_through_the_probe(session):
    session(OSError("no route"))
    start = time.monotonic()
    with pytest.raises(UserError, match="student.path=org/nothing: no such folder, and the Hub at .* does not answer"):
        load_config("org/nothing", "student.path")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(("error", "answers"), [(None, True), (OSError("no route"), False)])
def test_the_block_is_offline_when_the_hub_does_not_answer_and_only_there(session, error, answers):
    session(error)
    with hub.offline_unless_hub_answers() as found:
        assert found is answers and constants.HF_HUB_OFFLINE is not answers
    assert constants.HF_HUB_OFFLINE is False


def test_the_block_restores_the_setting_after_an_error(session):
    session(OSError("no route"))
    with pytest.raises(RuntimeError), hub.offline_unless_hub_answers():
        raise RuntimeError
    assert constants.HF_HUB_OFFLINE is False


def test_the_block_stays_offline_where_the_environment_says_so(session, monkeypatch):
    asked = session().asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub.offline_unless_hub_answers() as found:
        assert found is False and constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is True and not asked
