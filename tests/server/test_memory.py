"""Large blocks go back to the system, which glibc stops doing by itself."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

# Blocks that are mapped, each by itself, before and after one of 2 MB is allocated.
_COUNT = """
import ctypes, sys
from server import memory

class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
if sys.argv[1] == "set":
    memory.return_large_blocks()
libc.free(libc.malloc(24 * 2**20))
before = libc.mallinfo2().hblks
libc.malloc(int(sys.argv[2]))
print(libc.mallinfo2().hblks - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
@pytest.mark.parametrize(
    ("setting", "nbytes", "mapped"),
    [
        ("set", 2**20, 1),
        ("set", 2**20 - 64, 0),
        ("default", 2**20, 0),  # why it is set
    ],
)
def test_a_large_block_is_mapped_by_itself_also_after_larger_ones_were_freed(
    setting: str, nbytes: int, mapped: int
) -> None:
    command = [sys.executable, "-c", _COUNT, setting, str(nbytes)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) == mapped
