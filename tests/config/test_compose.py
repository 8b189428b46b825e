import pytest

from kdfeatures.config.compose import check_allow_targets
from kdfeatures.errors import UserError


@pytest.mark.parametrize("value", ["os", 1, {"os": 1}, [1], [""], None])
def test_trust_is_given_as_a_list_of_packages(value):
    with pytest.raises(UserError, match="must be a list of packages"):
        check_allow_targets(value, given=True)


def test_what_a_file_says_about_trust_is_no_permission():
    check_allow_targets(["math"], given=True)
    check_allow_targets([], given=False)
    with pytest.raises(UserError, match=r"a file sets allow_targets=\[math\].* write allow_targets=\[math\] on the"):
        check_allow_targets(["math"], given=False)
