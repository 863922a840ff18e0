"""System call openat2: paths opened and refused, and a kernel that lacks it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from udpft.storage.system_calls.openat2 import NO_CROSSING, openat2

FLAGS = os.O_RDONLY | os.O_CLOEXEC

# Installs a seccomp filter that answers openat2, and nothing else, with an error; then serves.
REFUSING_OPENAT2 = """
import ctypes, struct, sys
from udpft.errors import NoSuchFile
from udpft.storage.served_folder import ServedRoot

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
program = b"".join(
    struct.pack("HBBI", *instruction)   # code u16, jump true u8, jump false u8, k u32
    for instruction in (
        (0x20, 0, 0, 0),                            # load the call's number
        (0x15, 0, 1, 437),                          # openat2?
        (0x06, 0, 0, 0x0005_0000 | int(sys.argv[2])),  # yes: this error
        (0x06, 0, 0, 0x7FFF_0000),                  # no: allowed
    )
)
buffer = ctypes.create_string_buffer(program)
header = struct.pack("HxxxxxxP", 4, ctypes.addressof(buffer))  # length u16, pad, program pointer
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0) == 0

with ServedRoot(sys.argv[1]) as root:
    with root.open_file("sub/inside.txt") as file:
        print("served", file.size)
    for name in ("../outside.txt", "link.txt", "sublink/inside.txt", "sub"):
        try:
            root.open_file(name)
        except NoSuchFile:
            print("refused", name)
"""


@pytest.fixture
def folder_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.close(openat2(fd, b".", FLAGS))
    except OSError as error:
        os.close(fd)
        pytest.skip(f"no openat2 here: {error.strerror}")
    yield fd
    os.close(fd)


def test_a_file_beneath_opens(tmp_path: Path, folder_fd: int) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_bytes(b"abc")
    fd = openat2(folder_fd, b"sub/a.txt", FLAGS)
    assert os.read(fd, 10) == b"abc"
    assert not os.get_inheritable(fd)
    os.close(fd)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (b"missing", errno.ENOENT),
        (b"..", errno.EXDEV),
        (b"sub/../../x", errno.EXDEV),
        (b"/etc/passwd", errno.EXDEV),
        (b"link.txt", errno.ELOOP),
        (b"sublink/inside.txt", errno.ELOOP),
    ],
)
def test_the_kernel_refuses(tmp_path: Path, folder_fd: int, path: bytes, code: int) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "inside.txt").write_bytes(b"abc")
    (tmp_path / "link.txt").symlink_to("sub/inside.txt")
    (tmp_path / "sublink").symlink_to("sub")
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the code is what is asserted
        openat2(folder_fd, path, FLAGS)
    assert caught.value.errno == code


@pytest.mark.usefixtures("folder_fd")
def test_a_mount_on_the_way_is_crossed_but_where_that_is_refused() -> None:
    if not os.path.ismount("/proc"):
        pytest.skip("/proc is no mount here")
    top = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.close(openat2(top, b"proc/version", FLAGS))
        with pytest.raises(OSError) as caught:  # noqa: PT011  # the code is what is asserted
            openat2(top, b"proc/version", FLAGS, NO_CROSSING)
    finally:
        os.close(top)
    assert caught.value.errno == errno.EXDEV


def test_an_interrupted_call_is_made_again(
    folder_fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No local file system interrupts an open; FUSE and NFS do.
    import ctypes

    from udpft.storage.system_calls import openat2 as module

    (tmp_path / "a.txt").write_bytes(b"abc")
    real, calls = module._syscall, []

    def interrupted_once(*arguments: object) -> int:
        calls.append(arguments)
        if len(calls) == 1:
            ctypes.set_errno(errno.EINTR)
            return -1
        return int(real(*arguments))

    monkeypatch.setattr(module, "_syscall", interrupted_once)
    os.close(openat2(folder_fd, b"a.txt", FLAGS))
    assert len(calls) == 2


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM], ids=["ENOSYS", "EPERM"])
def test_a_kernel_without_openat2_confines_as_well(tmp_path: Path, code: int) -> None:
    root = tmp_path / "served"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "inside.txt").write_bytes(b"inside")
    (root / "link.txt").symlink_to("sub/inside.txt")
    (root / "sublink").symlink_to("sub")
    (tmp_path / "outside.txt").write_bytes(b"outside")
    ended = subprocess.run(
        [sys.executable, "-c", REFUSING_OPENAT2, str(root), str(code)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == [
        "served 6",
        "refused ../outside.txt",
        "refused link.txt",
        "refused sublink/inside.txt",
        "refused sub",
    ]
