"""A Hub to upload to that is none."""

from types import SimpleNamespace

from huggingface_hub import constants

from kdfeatures import hub, push


class Api:
    """Stands for the Hub's: keeps what is uploaded."""

    made, uploaded, error = [], {}, None

    def whoami(self):
        if self.error is not None:
            raise self.error
        return {"name": "me"}

    def create_repo(self, repository, *, exist_ok):
        assert exist_ok
        self.made.append(repository)
        return f"https://hub/{repository}"

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        self.uploaded[repo_id] = commit_message


def online_hub(monkeypatch):
    """Pretend a Hub that answers and a token that it takes; returns the class of its Api."""

    class Own(Api):
        made, uploaded = [], {}

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "get_token", lambda: "hf_token")
    monkeypatch.setattr(hub, "get_session", lambda: SimpleNamespace(head=lambda url, timeout: None))
    monkeypatch.setattr(hub, "HfApi", Own)
    monkeypatch.setattr(push, "HfApi", Own)
    return Own
