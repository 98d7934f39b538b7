"""What reading the file store's file leaves behind."""

import os

import pytest

from rolling_router_plugins import file_disk


def test_a_directory_in_the_file_s_place_costs_no_descriptor(tmp_path):
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(IsADirectoryError):
            file_disk.content(str(tmp_path))
    assert set(os.listdir("/proc/self/fd")) <= before
