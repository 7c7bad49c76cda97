"""The NVIDIA GPUs that a process may see, found without importing torch."""

import glob
import os
import re

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Variable of the environment that names the GPUs a process may see, by number or identifier."""


def visible_gpus() -> list[str]:
    """List the GPUs that this process may see, as ``CUDA_VISIBLE_DEVICES`` names them.

    Where that variable is not set they are numbered from 0, as CUDA numbers them, whatever the numbers of
    their device files. CUDA looks no further than the first entry that names no device, and so does this:
    an empty one, or -1.
    """
    named = os.environ.get(VISIBLE)
    if named is None:
        files = [path for path in glob.glob("/dev/nvidia[0-9]*") if re.fullmatch(r"/dev/nvidia\d+", path)]
        return [str(number) for number in range(len(files))]
    found: list[str] = []
    for one in named.split(","):
        if one.strip() in ("", "-1"):
            break
        found.append(one.strip())
    return found


def gpu_visible() -> bool:
    """Tell whether this process may see an NVIDIA GPU.

    An empty ``CUDA_VISIBLE_DEVICES`` (or -1) hides all of them; otherwise a device file counts.
    """
    if os.environ.get(VISIBLE) is not None:
        return bool(visible_gpus())
    return bool(visible_gpus()) or os.path.exists("/dev/dxg")  # the latter under WSL


def gpu_of(number: int) -> dict[str, str]:
    """Return the variables with which one of several processes sees one of the GPUs.

    The processes take them in turns; with more processes than GPUs some see the same.

    Parameters
    ----------
    number
        Of the process, from 0.

    Returns
    -------
    Empty where there is one GPU, or none.
    """
    found = visible_gpus()
    return {VISIBLE: found[number % len(found)]} if len(found) > 1 else {}
