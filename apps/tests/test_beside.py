"""Work in a process of its own: its result, its errors, and its end."""

import os

import pytest
from vc_apps.beside import beside
from vc_apps.outputs import AppError


def test_the_result_comes_from_another_process_and_errors_come_back_as_they_were():
    pid, seconds = beside(os.getpid)()
    assert pid != os.getpid()
    assert seconds >= 0
    with pytest.raises(ValueError, match="invalid literal for int"):
        beside(int, "four")()
    with pytest.raises(FileNotFoundError):
        beside(os.stat, "/nothing/there")()


def test_a_process_that_dies_is_an_error_that_says_so():
    with pytest.raises(AppError, match="ended with code 3"):
        beside(os._exit, 3)()
