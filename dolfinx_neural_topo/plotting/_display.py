"""A place for VTK to draw where there is no screen."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def off_screen() -> Iterator[None]:
    """Provide an X display while pictures are rendered, if this VTK needs one and there is none.

    VTK from 9.4 on chooses EGL or OSMesa by itself; Debian's older one is built for X, and gets a private
    Xvfb that ends with the context.

    Raises:
        RuntimeError: VTK needs a display, there is none, and Xvfb is missing or does not start.
    """
    if os.environ.get("DISPLAY") or not _needs_x():
        yield
        return
    if shutil.which("Xvfb") is None:
        raise RuntimeError(
            "this VTK draws through X and DISPLAY is not set; set it or apt-get install xvfb libgl1-mesa-dri"
        )
    read, write = os.pipe()
    command = [
        "Xvfb",
        "-displayfd",
        str(write),
        "-screen",
        "0",
        "1280x1024x24",
        "-nolisten",
        "tcp",
        "-noreset",
    ]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as pipe:
            number = pipe.readline().strip()  # empty when the server ended instead
        if not number:
            raise RuntimeError(
                f"Xvfb did not start (exit status {server.wait()}); set DISPLAY to a working one"
            )
        os.environ["DISPLAY"] = f":{number}"
        yield
    finally:
        os.environ.pop("DISPLAY", None)
        server.terminate()
        server.wait()


def _needs_x() -> bool:
    """Tell whether VTK's render windows are X windows whatever the environment."""
    import vtkmodules.vtkRenderingOpenGL2  # noqa: F401  registers the window classes
    from vtkmodules.vtkCommonCore import vtkVersion
    from vtkmodules.vtkRenderingCore import vtkRenderWindow

    version = (vtkVersion.GetVTKMajorVersion(), vtkVersion.GetVTKMinorVersion())
    return version < (9, 4) and vtkRenderWindow().GetClassName() == "vtkXOpenGLRenderWindow"
