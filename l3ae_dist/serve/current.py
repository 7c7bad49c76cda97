"""The model that answers now, and its successor as soon as that is complete.

Requests that are under way keep the model that they began with; none waits for the next, and none fails.
"""

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from l3ae_dist.errors import L3AEError, WorkspaceError
from l3ae_dist.messages import shown
from l3ae_dist.serve.answers import Answers, ExportAnswers, WorkspaceAnswers, is_export
from l3ae_dist.serve.measures import Measures
from l3ae_dist.storage.export_header import HEADER

logger = logging.getLogger("l3ae_dist.serve")

LOOK_SECONDS = 2.0
# Times that a model is opened which another one replaces meanwhile.
_TRIES = 5
# Seconds for a look that is under way when the service ends.
_GOODBYE_SECONDS = 5.0


class Current:
    """The model of an export or a workspace, replaced while requests go on.

    Parameters
    ----------
    target
        Folder of an export, or a link to one; or path or URL of a workspace.
    model
        Name of a model of the workspace; the current one, whichever it is at a time, when None.
    memory_budget
        Bytes that a call to a model of a workspace may hold.
    look_seconds
        Seconds between looks at whether there is another model.

    Attributes
    ----------
    measures
        Counts swaps, and models that could not be opened.
    """

    def __init__(
        self,
        target: str,
        model: str | None = None,
        *,
        memory_budget: str = "2GiB",
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self.target, self._model, self._budget = target, model, memory_budget
        self._every = look_seconds
        self.measures = Measures()
        self._answers: Answers | None = None
        self._stamp: object = None
        self._refused: object = None
        self._ended = threading.Event()
        self._looking: threading.Thread | None = None

    @property
    def answers(self) -> Answers | None:
        """The model that answers; None before the first is there."""
        return self._answers

    def open(self) -> Answers:
        """Open the model that is there now.

        Raises
        ------
        L3AEError
            As opening an export or a workspace does.
        """
        found = self._newer()
        if found is None:
            raise WorkspaceError(f"{shown(self.target)} changes all the time; start the service again.")
        self._stamp, self._answers = found
        return self._answers

    def watch(self) -> None:
        """Look for another model from now on, in a thread, until :meth:`close`."""
        self._looking = threading.Thread(target=self._run, name="next-model", daemon=True)
        self._looking.start()

    def close(self) -> None:
        """End the thread that looks."""
        self._ended.set()
        if self._looking is not None:
            self._looking.join(_GOODBYE_SECONDS)

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            try:
                self.swap_if_new()
            except Exception:  # no memory for a second model, say: the next one may be smaller
                logger.exception("the model stays as it is")
                self.measures.swapped(False)

    def swap_if_new(self) -> bool:
        """Open another model if there is one, and let it answer from now on.

        Returns
        -------
        Whether it does. A model that cannot be opened, as one that is being written, is tried again.
        """
        try:
            found = self._newer()
        except (L3AEError, OSError) as error:
            if str(error) != self._refused:
                self._refused = str(error)
                logger.warning("the model stays as it is: %s", error)
                self.measures.swapped(False)
            return False
        if found is None:
            return False
        self._refused = None
        self._stamp, self._answers = found
        self.measures.swapped(True)
        return True

    def _newer(self) -> tuple[object, Answers] | None:
        """Open the model that is there, unless it is the one that answers, with what it is known by.

        Returns
        -------
        None as well where there is another one each time it has been opened.
        """
        for _ in range(_TRIES):
            stamp, opened = self._look()
            if stamp == self._stamp:
                return None
            found = opened()
            if self._look()[0] == stamp:  # all that was read is of one model
                return stamp, found
        return None

    def _look(self) -> tuple[object, Callable[[], Answers]]:
        """Return what changes when there is another model, and what opens the one that is there."""
        if is_export(self.target):
            folder = Path(self.target).resolve()
            header = (folder / HEADER).stat()
            stamp = str(folder), header.st_ino, header.st_mtime_ns, header.st_size
            return stamp, partial(ExportAnswers, folder)
        before = self._answers
        if before is not None and not isinstance(before, WorkspaceAnswers):
            return self._stamp, lambda: before  # the folder of an export that is replaced at this moment
        found = WorkspaceAnswers(self.target, self._model, self._budget)
        return found.version, lambda: found
