"""History: what this browser drew. It is kept by the browser; the server has none of it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from mmgen.web import restore, results
from mmgen.web.scripts import script
from mmgen.web.tabs.create import Create
from mmgen.web.visits import LIGHT, told

_PANEL = (
    '<div class="history" data-count="0"><div class="tools"><p class="count"></p>'
    '<button type="button" class="clear">Delete all</button></div>'
    '<div class="cards"></div>'
    f"{results.empty('Nothing here yet.', 'What you draw on Create or Edit is kept here, in this browser only.')}</div>"
)


class History:
    """The widget of the tab and what joins it to the form.

    Args:
        create: whose form takes settings.
        tabs: which turn to it then.
    """

    def __init__(self, create: Create, tabs: gr.Tabs) -> None:
        self.create = create
        self.panel: Any = gr.HTML(
            _PANEL, elem_id="history", js_on_load="\n".join(map(script, ("viewer", "database", "history")))
        )
        self.panel.restore(self.use, None, [tabs, *create.restored], **LIGHT)

    def use(self, event: gr.EventData) -> list[Any]:
        """Sets the form to what made a result."""
        made = event._data.get("made") if isinstance(event._data, dict) else None
        with told():
            settings = restore.of_metadata(self.create.studio, made)
            return [gr.Tabs(selected="create"), *self.create.restore(settings)]
