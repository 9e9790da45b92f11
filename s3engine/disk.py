"""What a file system can refuse, told so that a person knows what to do; and what it can be asked before."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import unicodedata
from collections.abc import Callable

from s3engine.errors import SinkError

__all__ = [
    "ANOTHER_NAME", "check_target", "fold_of", "give_name", "preallocate", "set_aside", "sink_error",
    "sync_file_system", "sync_folder",
]  # fmt: skip

ANOTHER_NAME = "give it another name (path=, or by itself: s3engine cp s3://BUCKET/KEY NAME)"
"""The way out for a key that cannot be the name of a file."""

_WAYS_OUT = {
    errno.ENOSPC: "the disk is full: free some space, or download to another one",
    errno.EDQUOT: "your quota is used up: free some space, or download to another disk",
    errno.EFBIG: "the file is larger than the file system or the limit of this process (ulimit -f) allows",
    errno.EROFS: "the file system is read-only: download to another folder",
    errno.EACCES: "no permission: download to another folder, or have its owner let you write there",
    errno.EPERM: "the system does not permit it: download to another folder",
    errno.ENAMETOOLONG: f"the name or the whole path is longer than the file system allows: {ANOTHER_NAME}",
    errno.ENOTDIR: "a file is in the way where a folder is needed: move it away, or download to another folder",
    errno.EEXIST: "a file is in the way where a folder is needed: move it away, or download to another folder",
    errno.EISDIR: "a folder is in the way: move it away, or download to another folder",
    errno.ELOOP: "a symbolic link is in the way: remove it, or download to another folder",
    errno.ENOENT: "the folder went away, or the file system refuses the name",
    errno.EILSEQ: f"the file system cannot write this name: {ANOTHER_NAME}",
    errno.EIO: "the disk or the network file system failed: look at the system's log",
    errno.ESTALE: "the network file system lost the file: look at its server",
}


def sink_error(path: str, error: OSError) -> SinkError:
    """``error`` as the SinkError of a download to ``path``, with the way out; ``errno`` is an attribute of it."""
    way_out = _WAYS_OUT.get(error.errno or 0, "")
    why = f"{error.strerror or error}{f'; {way_out}' if way_out else ''}"
    return SinkError(f"cannot write {path!r}: {why}", path=path, errno=error.errno or 0)


def check_target(path: str, name: str = "", folder_fd: int | None = None) -> None:
    """Raise SinkError when a rename to ``path`` would put a file in the place of a device, a FIFO or a socket.

    With ``folder_fd`` the file is looked for as ``name`` in that folder.
    """
    try:
        mode = os.stat(name or path, dir_fd=folder_fd, follow_symlinks=False).st_mode
    except OSError:
        return  # mostly because nothing is there; else the rename tells
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode)):
        text = f"cannot write {path!r}: a device, a FIFO or a socket is in the way: download to another name"
        raise SinkError(text, path=path)


def give_name(temporary: str, name: str, path: str, folder_fd: int) -> None:
    """Rename ``temporary`` to ``name``, both in the folder ``folder_fd``; a file that is there is replaced.

    Raises SinkError where a device, a FIFO or a socket is in the way, and OSError.
    """
    global _plain_renames, _rename_new
    if _plain_renames > 0:
        _plain_renames -= 1
        if not _plain_renames:
            _rename_new = _rename_without_replacing()
    if _rename_new is not None:
        # Mostly nothing is there. That is seen and done in one call, and without a gap between the two.
        number = _rename_new(folder_fd, os.fsencode(temporary), folder_fd, os.fsencode(name))
        if not number:
            return
        if number != errno.EEXIST:
            # Network file systems do not know it, and a sandbox may refuse it by any number. Where it is the file
            # system that refuses, the plain rename says so too.
            _rename_new = None
    check_target(path, name, folder_fd)
    os.replace(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)


_PLAIN_RENAMES = 300
_plain_renames = _PLAIN_RENAMES  # to go before ctypes is loaded: 3 ms, and it saves some 4 us a file
_rename_new: Callable[[int, bytes, int, bytes], int] | None = None


def _rename_without_replacing() -> Callable[[int, bytes, int, bytes], int] | None:
    """A function that renames to names that are free alone, and gives an errno, 0 when it did; None: not here."""
    import ctypes  # lazy: see _plain_renames

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # Linux
    if call is None:
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    get_errno = ctypes.get_errno
    no_replace = 1  # RENAME_NOREPLACE of linux/fs.h

    def rename(from_fd: int, temporary: bytes, to_fd: int, name: bytes) -> int:
        return get_errno() if call(from_fd, temporary, to_fd, name, no_replace) else 0

    return rename


def preallocate(path: str, size_bytes: int, target: str = "") -> None:
    """Have the file system set ``size_bytes`` aside for a file, made if need be, whose length stays as it is.

    So a full disk is found before the bytes are fetched. Where the file system cannot do it nothing happens: the C
    library's own way (os.posix_fallocate) would write to each block in its place. Raises SinkError, which names
    ``target``.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            set_aside(fd, size_bytes)
        finally:
            os.close(fd)
    except OSError as error:
        raise sink_error(target or path, error) from None


def set_aside(fd: int, size_bytes: int) -> None:
    """:func:`preallocate` for a file that is open for writing. Raises OSError."""
    import ctypes  # lazy: large downloads alone need it

    call = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)  # not on macOS
    keep_size = 1
    if call is None or ctypes.sizeof(ctypes.c_long) < 8:
        return
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    while call(fd, keep_size, 0, size_bytes):
        number = ctypes.get_errno()
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(number, os.strerror(number))
        if number != errno.EINTR:
            return


def sync_folder(path: str, folder_fd: int | None = None) -> None:
    """Have the names in the folder of ``path``, or in that of ``folder_fd``, reach the disk. Raises OSError."""
    # Of a descriptor too: one that was opened to go through the folder cannot be synced.
    folder = (os.path.dirname(path) or ".") if folder_fd is None else "."
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder_fd)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file_system(folder: str) -> None:
    """Have all that was written to the file system of ``folder``, by any process, reach the disk.

    One call for many files; of a folder that is not there nothing. Where the C library has no syncfs (not Linux) all
    file systems are synced. Raises OSError.
    """
    import ctypes  # lazy: downloads with a journal alone need it

    call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if call is None:
            os.sync()
        elif call(fd):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)
    finally:
        os.close(fd)


def fold_of(folder: str) -> Callable[[str], str]:
    """How the file system of ``folder`` sees names: a function that maps two names of one file to the same text.

    Tried with a file of an odd name, which is made and removed; the folder is made when it is not there. Where that
    fails names are taken to be themselves: whoever writes there next meets the same trouble and tells it.
    """
    token = os.urandom(4).hex()
    name = f".s3engine-{token}-k\u00e9.part"  # with an e acute that is one character
    cased = folded = False
    with contextlib.suppress(OSError, UnicodeEncodeError):
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, name)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        try:
            cased = os.path.lexists(os.path.join(folder, name.replace("-k", "-K")))
            folded = os.path.lexists(os.path.join(folder, unicodedata.normalize("NFD", name)))
        finally:
            os.unlink(path)
    if cased:
        return _caseless  # what folds case may fold accents too, and a warning too many does less harm
    return _normal if folded else _exact


def _exact(name: str) -> str:
    return name


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _caseless(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
