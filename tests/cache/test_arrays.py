import pytest
import safetensors.torch
import torch

from kdfeatures.cache.arrays import BrokenFile, NewArray, open_array, write_array


@pytest.fixture
def file(tmp_path):
    new = NewArray(tmp_path / "hidden.3", (5, 3), "float16")
    new.tensor.copy_(torch.arange(15).view(5, 3))
    new.close({"window": "7"})
    return new.path


def spoilt(file, position, mask=1):
    content = bytearray(file.read_bytes())
    content[position] ^= mask
    file.write_bytes(content)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "uint8"])
def test_what_was_written_is_read(tmp_path, dtype):
    written = torch.arange(12).view(4, 3).to(getattr(torch, dtype))
    write_array(tmp_path / "array", written, dtype)
    found, info = open_array(tmp_path / "array", verify=True)
    assert torch.equal(found, written) and found.dtype == written.dtype and info == {}


def test_any_safetensors_reader_opens_a_file(file):
    (name, found), *others = safetensors.torch.load_file(file).items()
    assert name == "array" and not others
    assert torch.equal(found, open_array(file, verify=True)[0])


def test_metadata_comes_back_without_the_checksum(file):
    assert open_array(file, verify=True)[1] == {"window": "7"}


@pytest.mark.parametrize("position", [20, 60, 512, 541], ids=["header", "metadata", "first byte", "last byte"])
def test_an_altered_byte_is_found(file, position):
    spoilt(file, position)
    with pytest.raises(BrokenFile, match=str(file)):
        open_array(file, verify=True)


@pytest.mark.parametrize("kept", [0, 4, 300, 512, 541])
def test_a_file_that_was_cut_short_is_found_without_reading_it(file, kept):
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(BrokenFile):
        open_array(file, verify=False)


def test_a_file_that_was_never_finished_is_broken(tmp_path):
    NewArray(tmp_path / "half", (5, 3), "float16")
    with pytest.raises(BrokenFile):
        open_array(tmp_path / "half", verify=False)


def test_reading_cannot_change_the_file(file):
    before = file.read_bytes()
    open_array(file, verify=True)[0].fill_(3)
    assert file.read_bytes() == before
