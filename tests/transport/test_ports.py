"""What a home remembers of its node's ports."""

import pytest

from edged.errors import ConfigError
from edged.transport.ports import FILE_NAME, Ports, choices, first_free, read_ports, write_ports


def test_ports_come_back_and_are_tried_before_any_other(tmp_path):
    assert choices(tmp_path, 0) == choices(None, 0) == ((0,), (0,), (0,))
    write_ports(tmp_path, Ports(7, 8, 9))
    assert read_ports(tmp_path) == Ports(7, 8, 9)
    assert choices(tmp_path, 0) == ((7, 0), (8, 0), (9, 0))
    assert choices(tmp_path, 7077) == ((7077,), (7078,), (7079,)), "a port that was named is the only one"
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize(
    "data",
    [
        *("", "[1]", "5", "null", '{"door": 1}', '{"door": 1, "more": 2}'),
        *(f'{{"door": {port}, "control": 2, "bulk": 3}}' for port in ("70000", "-1", '"1"', "true")),
    ],
)
def test_a_damaged_file_means_any_ports(tmp_path, data):
    (tmp_path / FILE_NAME).write_text(data)
    assert read_ports(tmp_path) == Ports()


def test_the_first_port_that_can_be_had_is_taken():
    def bind(port):
        if port < 3:
            raise ConfigError(f"{port} is in use")
        return port

    assert first_free((2, 5, 0), bind) == 5
    with pytest.raises(ConfigError, match="1 is in use"):
        first_free((2, 1), bind)
