import socket
import time

import pytest
from huggingface_hub import constants

from kdfeatures.hub import reach as hub


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
        monkeypatch.setattr(hub, "_answered", {})
        return made

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return make


@pytest.mark.parametrize("error", [ConnectionError("refused"), TimeoutError("late"), RuntimeError("proxy")])
def test_whatever_a_client_raises_means_no(session, error):
    session(error)
    assert not hub.hub_answers()


@pytest.mark.parametrize("error", [None, OSError("no route")])
def test_the_hub_is_asked_once_and_briefly(session, error):
    asked = session(error).asked
    assert [hub.hub_answers() for _ in range(3)] == [error is None] * 3
    assert asked == [(constants.ENDPOINT, {"timeout": hub.PROBE_SECONDS})]
    assert hub.PROBE_SECONDS <= 5


def test_the_hub_is_asked_again_after_a_while(session, monkeypatch):
    asked = session(OSError("no route")).asked
    assert not hub.hub_answers()
    monkeypatch.setattr(hub, "KNOWN_SECONDS", 0.0)
    assert not hub.hub_answers()
    assert len(asked) == 2


def test_a_hub_that_is_silent_is_given_up_after_the_probe(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_answered", {})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(hub, "PROBE_SECONDS", 0.2)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        start = time.monotonic()
        assert not hub.hub_answers()
    assert time.monotonic() - start < 3


def test_hf_hub_offline_asks_nobody(session, monkeypatch):
    asked = session().asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub.hub_answers()
    assert not asked


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
