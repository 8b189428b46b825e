import json

import pytest

from kdfeatures.checksums import FILE, checksums, flaw, seal


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"a" * 3_000_000)
    (tmp_path / "b.json").write_text("{}")
    seal(tmp_path)
    return tmp_path


def test_a_sealed_folder_has_no_flaw_and_what_comes_later_does_not_count(folder):
    assert flaw(folder) is None
    (folder / "later.txt").touch()
    assert flaw(folder) is None


def test_the_checksums_are_those_of_sha256sum(folder):
    assert checksums(folder, ["b.json", "missing"]) == {
        "b.json": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    }


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "a.bin").unlink(), "a.bin is missing"),
        (lambda folder: (folder / "a.bin").write_bytes(b"a" * 2_999_999 + b"b"), "a.bin does not match its checksum"),
        (lambda folder: (folder / "b.json").write_text(""), "b.json does not match its checksum"),
        (lambda folder: (folder / FILE).unlink(), f"{FILE} is missing, so it was not written to its end"),
        (lambda folder: (folder / FILE).write_text("{"), f"{FILE} cannot be read"),
        (lambda folder: (folder / FILE).write_bytes(b"\xff"), f"{FILE} cannot be read"),
        (lambda folder: (folder / FILE).write_text("[]"), f"{FILE} is no list of checksums"),
        (lambda folder: (folder / FILE).write_text('{"../x": "1"}'), f"{FILE} is no list of checksums"),
    ],
)
def test_what_is_lost_or_altered_is_named(folder, damage, told):
    damage(folder)
    assert flaw(folder) == told


def test_a_link_in_place_of_a_file_is_a_flaw(folder, tmp_path):
    (folder / "a.bin").rename(folder / "elsewhere")
    (folder / "a.bin").symlink_to(folder / "elsewhere")
    assert flaw(folder) == "a.bin is a symbolic link"


def test_what_a_killed_writer_left_is_not_sealed(tmp_path):
    (tmp_path / "model").write_text("whole")
    (tmp_path / f".{FILE}.{32 * 'a'}").write_text("half")
    seal(tmp_path)
    assert flaw(tmp_path) is None and json.loads((tmp_path / FILE).read_text()).keys() == {"model"}
