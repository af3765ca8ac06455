"""What answers now: one `Querywright`, in whose place another comes when the settings are read anew."""

from __future__ import annotations

import threading

from .local import Querywright


class Serving:
    """Holds the `Querywright` that answers; a request takes it once, and so sees one set of settings throughout.

    The one before is not closed but let go: requests that are under way still work with it.
    """

    def __init__(self, querywright: Querywright) -> None:
        self._now = querywright
        self._reloading = threading.Lock()

    @property
    def now(self) -> Querywright:
        """What answers now."""
        return self._now

    def reload(self) -> list[str]:
        """Read settings, prompt and catalogs anew; return what could not be loaded, as `Querywright.warm_up` does.

        Raises InputError that names the setting which is wrong, or what loading the encoders raises; then all stays as
        it was.
        """
        with self._reloading:
            before, made = self._now, self._now.reloaded()
            made.collection_store.encoders().encode_queries(["ready?"])  # without them nothing could be written
            problems = made.warm_up()
            self._now = made
            before.stop_catching_up()
            self.catch_up()
        return problems

    def catch_up(self) -> None:
        """Encode in the background what comes from an earlier encoder."""
        threading.Thread(target=self._now.catch_up, name="catch up", daemon=True).start()
