"""Removes folders that a hostile program filled: follows no link, enters no mount, fails at no depth or mode.

A tree is made flat while it is removed: a folder in which something is left moves up to the top. So two descriptors and
short paths are enough at any depth, and what another folder is mounted on shows itself, since it can neither be moved
nor removed.
"""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(folder: Path) -> OSError | None:
    """Remove a folder and all that is in it; nothing where it is not there. Nothing in it may run any more.

    What cannot be removed stays in `folder`, perhaps under another name; the first error is returned, not raised.
    Several processes may remove the same folder at once.
    """
    try:
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    try:
        return _Removal(parent, folder.name).run()
    finally:
        os.close(parent)


class _Removal:
    """The removal of the folder `name` in the folder open as `parent`."""

    def __init__(self, parent: int, name: str) -> None:
        self._parent, self._name = parent, name
        self._top = -1
        self._prefix = secrets.token_hex(8)
        self._pending: list[str] = []
        """Folders right below the top that are yet to be emptied."""
        self._removed = 0
        self._moved = 0
        self._error: OSError | None = None

    def run(self) -> OSError | None:
        try:
            os.rmdir(self._name, dir_fd=self._parent)
            return None
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                return error  # a mount point, or not a folder
        try:
            self._top = _open(self._parent, self._name)
        except FileNotFoundError:
            return None
        except OSError as error:
            return error
        try:
            return self._passes()
        finally:
            os.close(self._top)

    def _passes(self) -> OSError | None:
        while True:
            before, self._error = self._removed, None
            self._empty(self._top)
            while self._pending:
                self._remove(self._pending.pop())
            try:
                os.rmdir(self._name, dir_fd=self._parent)
                return None
            except FileNotFoundError:
                return None
            except OSError as error:
                if self._removed == before:  # a full disk, or a listing that skips, gets better with what is removed
                    return self._error or error

    def _remove(self, name: str) -> None:
        """Remove one folder right below the top, moving the folders in it up to the top."""
        try:
            folder = _open(self._top, name)
            try:
                self._empty(folder)
            finally:
                os.close(folder)
            os.rmdir(name, dir_fd=self._top)
            self._removed += 1
        except FileNotFoundError:
            pass
        except OSError as error:
            self._error = self._error or error

    def _empty(self, folder: int) -> None:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._remove_entry(folder, entry)
        except OSError as error:
            self._error = self._error or error

    def _remove_entry(self, folder: int, entry: os.DirEntry[str]) -> None:
        is_folder = entry.is_dir(follow_symlinks=False)
        try:
            try:
                self._unlink(folder, entry.name, is_folder)
            except PermissionError:
                os.fchmod(folder, 0o700)
                if is_folder:  # a folder must be writable to be moved
                    _make_accessible(folder, entry.name)
                self._unlink(folder, entry.name, is_folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._error = self._error or error

    def _unlink(self, folder: int, name: str, is_folder: bool) -> None:
        if not is_folder:
            os.unlink(name, dir_fd=folder)
            self._removed += 1
            return
        try:
            os.rmdir(name, dir_fd=folder)
            self._removed += 1
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if folder != self._top:
            self._moved += 1
            new = f"{self._prefix}{self._moved}"
            os.rename(name, new, src_dir_fd=folder, dst_dir_fd=self._top)
            name = new
        self._pending.append(name)


def _open(parent: int, name: str) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        _make_accessible(parent, name)
        return os.open(name, _FOLDER, dir_fd=parent)


def _make_accessible(parent: int, name: str) -> None:
    """Let its owner list and change a folder, which is opened without a permission for that; it is never a link."""
    folder = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{folder}", 0o700)
    finally:
        os.close(folder)
