"""A Hub to upload to that is none."""

import inspect
from types import SimpleNamespace

from huggingface_hub import HfApi, constants

from kdfeatures.hub import reach as hub
from kdfeatures.runs.publishing import upload as push


def online_hub(monkeypatch):
    """Pretend a Hub that answers and a token that it takes.

    Returns the class of its HfApi, which takes what the real one takes and notes it: `made`, `uploaded`. Its `error`,
    if any, is what the token meets.
    """

    class Api:
        made, uploaded, error = {}, {}, None

        def whoami(self):
            if self.error is not None:
                raise self.error
            return {"name": "me"}

        def create_repo(self, *positional, **named):
            asked = inspect.signature(HfApi.create_repo).bind(self, *positional, **named).arguments
            assert asked["exist_ok"]
            self.made[asked["repo_id"]] = asked.get("private")
            return f"https://hub/{asked['repo_id']}"

        def upload_folder(self, **named):
            asked = inspect.signature(HfApi.upload_folder).bind(self, **named).arguments
            self.uploaded[asked["repo_id"]] = asked["commit_message"]

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_answered", {})
    monkeypatch.setattr(hub, "get_token", lambda: "hf_token")
    monkeypatch.setattr(hub, "get_session", lambda: SimpleNamespace(head=lambda url, timeout: None))
    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(push, "HfApi", Api)
    return Api
