"""The tests' own measure of descriptors (``tests/descriptors.py``): neither what others left nor a replaced one misleads it."""

from __future__ import annotations

import gc
import os

import pytest

from tests.descriptors import none_left


class Left:
    """What keeps a descriptor until the collection of garbage."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0)
        self.self = self

    def __del__(self) -> None:
        os.close(self.fd)


def test_what_others_left_does_not_disturb() -> None:
    threshold = gc.get_threshold()
    Left()
    try:
        with none_left():
            gc.set_threshold(1)  # the way it went wrong: the collection came within the block
            [[n] for n in range(1000)]
        assert gc.isenabled()
    finally:
        gc.set_threshold(*threshold)


def test_one_too_many_one_too_few_and_another_in_its_place() -> None:
    fd = os.eventfd(0)
    with pytest.raises(AssertionError), none_left():
        os.close(fd)
    with pytest.raises(AssertionError), none_left():
        fd = os.eventfd(0)
    with pytest.raises(AssertionError), none_left():
        os.close(fd)
        fd = os.open("/dev/null", os.O_RDONLY)
    os.close(fd)


def test_what_the_block_forgot_in_a_cycle_is_told() -> None:
    with pytest.raises(AssertionError), none_left():
        Left()
    gc.collect()
